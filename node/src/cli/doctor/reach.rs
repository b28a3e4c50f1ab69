//! Whether a server can be reached, without speaking to it: a stdio server is not started for a look.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::TcpStream;

use super::{Check, Verdict};
use crate::cli::connect::host_port;
use crate::config::{Endpoint, Server, Transport};

pub(super) async fn server(server: &Server) -> Vec<Check> {
    let name = format!("servers.{}", server.name);
    match &server.transport {
        Transport::Stdio { command, cwd, .. } => {
            let mut checks = vec![program(
                &name,
                command,
                std::env::var_os("PATH")
                    .as_deref()
                    .map(std::env::split_paths),
            )];
            if let Some(cwd) = cwd.as_deref().filter(|cwd| !cwd.is_dir()) {
                checks.push(Check::failed(
                    format!("{name}.cwd"),
                    format!("{} is not a directory", cwd.display()),
                    "make it, or name another",
                ));
            }
            checks
        }
        Transport::Http {
            endpoints,
            connect_timeout,
            ..
        } => {
            let mut checks = Vec::with_capacity(endpoints.len());
            for at in endpoints {
                checks.push(endpoint(&name, at, *connect_timeout).await);
            }
            checks
        }
    }
}

async fn endpoint(name: &str, endpoint: &Endpoint, limit: Duration) -> Check {
    let (host, port) = host_port(&endpoint.url);
    let cause = match tokio::time::timeout(limit, TcpStream::connect((host, port))).await {
        Ok(Ok(_)) => return Check::good(name, format!("{host}:{port} accepts connections")),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {limit:?}"),
    };
    Check::failed(
        name,
        format!("{host}:{port}: {cause}"),
        "start the server, or correct its address",
    )
}

fn program(name: &str, command: &str, path: Option<impl Iterator<Item = PathBuf>>) -> Check {
    if command.contains('/') {
        return if is_program(Path::new(command)) {
            Check::good(name, format!("{command} is there"))
        } else {
            Check::failed(
                name,
                format!("{command} is not an executable file"),
                "correct the path, or make it executable",
            )
        };
    }
    let Some(mut path) = path else {
        return Check::new(
            name,
            Verdict::Unchecked,
            format!("`{command}` cannot be looked up: PATH is not set"),
            "set PATH",
        );
    };
    match path.find_map(|dir| Some(dir.join(command)).filter(|file| is_program(file))) {
        Some(file) => Check::good(name, format!("{command} is {}", file.display())),
        None => Check::failed(
            name,
            format!("`{command}` is not in PATH"),
            format!("install `{command}`, or write its full path"),
        ),
    }
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::port::Port;

    #[test]
    fn programs_are_looked_up_as_the_system_does() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tool");
        std::fs::write(&file, "").unwrap();
        let path = || Some([PathBuf::from("/nowhere"), dir.path().to_owned()].into_iter());
        assert_eq!(program("a", "tool", path()).result, Verdict::Failed);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(program("a", "tool", path()).result, Verdict::Good);
        assert_eq!(
            program("a", file.to_str().unwrap(), path()).result,
            Verdict::Good
        );
        assert_eq!(
            program("a", "/nowhere/tool", path()).result,
            Verdict::Failed
        );
        assert_eq!(
            program("a", "tool", None::<std::vec::IntoIter<PathBuf>>).result,
            Verdict::Unchecked
        );
    }

    #[tokio::test]
    async fn an_address_that_nobody_holds_is_a_failure() {
        let port = Port::reserve();
        let holder = port.listen();
        let url: http::Uri = format!("http://{}/mcp", port.address).parse().unwrap();
        let at = Endpoint {
            address: url.to_string().into(),
            url,
            weight: 1,
        };
        let limit = Duration::from_secs(5);
        assert_eq!(endpoint("a", &at, limit).await.result, Verdict::Good);
        drop(holder);
        assert_eq!(endpoint("a", &at, limit).await.result, Verdict::Failed);
    }
}
