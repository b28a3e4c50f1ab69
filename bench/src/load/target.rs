//! What is measured: a name, a URL, and what a request there has to carry.

use std::str::FromStr;

use crate::{
    error::{Error, Result},
    wire::Endpoint,
};

/// One URL under test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Name in the report.
    pub(crate) name: String,
    /// Where it is.
    pub(crate) endpoint: Endpoint,
    /// Process whose CPU time and memory are read.
    pub(crate) pid: Option<u32>,
    /// Headers beside MCP's own.
    pub(crate) headers: Vec<(String, String)>,
    /// What the target puts in front of tool names.
    pub(crate) prefix: String,
}

impl Target {
    /// A target without process, headers or prefix.
    pub(crate) fn new(name: &str, url: &str) -> Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            endpoint: Endpoint::parse(url)?,
            pid: None,
            headers: Vec::new(),
            prefix: String::new(),
        })
    }

    /// With the process that serves it.
    pub(crate) fn with_pid(mut self, pid: Option<u32>) -> Self {
        self.pid = pid;
        self
    }

    /// With a header on every request.
    pub(crate) fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a prefix on tool names.
    pub(crate) fn with_prefix(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.prefix);
        self
    }
}

/// `name=URL[,pid=PID][,header=K:V]...[,prefix=P]`
impl FromStr for Target {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let unusable = |why: &str| Error::Argument {
            key: "--target",
            value: text.to_owned(),
            why: why.to_owned(),
        };
        let mut parts = text.split(',');
        let first = parts.next().unwrap_or_default();
        let (name, url) = first
            .split_once('=')
            .ok_or_else(|| unusable("it starts with name=URL"))?;
        let mut target = Self::new(name, url)?;
        for part in parts {
            match part.split_once('=') {
                Some(("pid", pid)) => {
                    let pid = pid
                        .parse()
                        .map_err(|_no_number| unusable("pid is a number"))?;
                    target.pid = Some(pid);
                }
                Some(("header", header)) => {
                    let (name, value) = header
                        .split_once(':')
                        .ok_or_else(|| unusable("header is name:value"))?;
                    target = target.with_header(name.trim(), value.trim());
                }
                Some(("prefix", prefix)) => prefix.clone_into(&mut target.prefix),
                _ => return Err(unusable("after the URL come pid=, header= and prefix=")),
            }
        }
        Ok(target)
    }
}

#[cfg(test)]
mod tests {
    use super::Target;

    #[test]
    fn a_target_is_read_from_one_argument() {
        let text =
            "gw=http://127.0.0.1:7777/mcp,pid=12,header=Authorization: Bearer x,prefix=echo_";
        let target: Target = text.parse().unwrap();
        let header = ("Authorization".to_owned(), "Bearer x".to_owned());
        assert_eq!(target.name, "gw");
        assert_eq!(target.pid, Some(12));
        assert_eq!(target.headers, [header]);
        assert_eq!(target.prefix, "echo_");
        assert_eq!(target.endpoint.path, "/mcp");
    }

    #[test]
    fn an_unknown_part_is_refused() {
        assert!(
            "a=http://127.0.0.1:1/,colour=red"
                .parse::<Target>()
                .is_err()
        );
        assert!("http://127.0.0.1:1/".parse::<Target>().is_err());
    }
}
