//! `lockgate demo`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::exit::{Exit, Failure};

const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7777);
const ADMIN_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7778);

/// What `lockgate demo` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoOptions {
    /// Address of the data plane of one node [default: 127.0.0.1:7777].
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Address of the admin plane of one node [default: 127.0.0.1:7778].
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<SocketAddr>,
    /// How many nodes: 1, 3 or 5. Several are one cluster, and choose their own ports.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = nodes)]
    nodes: u8,
    /// Print one line of JSON with the addresses on standard output when the gateway answers.
    #[arg(long)]
    pub ready_json: bool,
}

/// What is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DemoShape {
    /// One node at these addresses.
    Node {
        /// Of the data plane.
        listen: SocketAddr,
        /// Of the admin plane.
        admin: SocketAddr,
    },
    /// A cluster of so many nodes, which choose their own ports.
    Fleet(usize),
}

impl DemoOptions {
    /// What is to run.
    ///
    /// # Errors
    ///
    /// An address with several nodes, which cannot all have it.
    pub fn shape(&self) -> Result<DemoShape, Failure> {
        match (self.nodes, self.listen, self.admin_listen) {
            (1, listen, admin) => Ok(DemoShape::Node {
                listen: listen.unwrap_or(LISTEN),
                admin: admin.unwrap_or(ADMIN_LISTEN),
            }),
            (n, None, None) => Ok(DemoShape::Fleet(usize::from(n))),
            (n, ..) => Err(Failure {
                exit: Exit::Usage,
                message: format!("{n} nodes cannot have one address"),
                remedy: "leave --listen and --admin-listen out: the nodes choose their own ports, and say which"
                    .to_owned(),
            }),
        }
    }
}

/// A cluster goes on while most of its nodes live, so that one more node than an odd number is one more that can fail and
/// survives nothing more.
fn nodes(text: &str) -> Result<u8, String> {
    match text.parse() {
        Ok(n @ (1 | 3 | 5)) => Ok(n),
        Ok(n @ (2 | 4)) => Err(format!(
            "{n} nodes survive no more failures than {}; take 1, 3 or 5",
            n - 1
        )),
        _ => Err("take 1, 3 or 5".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(nodes: u8, listen: Option<SocketAddr>) -> DemoOptions {
        DemoOptions {
            listen,
            admin_listen: None,
            nodes,
            ready_json: false,
        }
    }

    #[test]
    fn several_nodes_have_no_address_in_common() {
        assert_eq!(options(3, None).shape().unwrap(), DemoShape::Fleet(3));
        let refused = options(3, Some(LISTEN)).shape().unwrap_err();
        assert_eq!(refused.message, "3 nodes cannot have one address");
        let one = DemoShape::Node {
            listen: ADMIN_LISTEN,
            admin: ADMIN_LISTEN,
        };
        assert_eq!(options(1, Some(ADMIN_LISTEN)).shape().unwrap(), one);
    }
}
