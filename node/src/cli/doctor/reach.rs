//! Whether a server can be reached, without speaking to it: a stdio server is not started for a look.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::net::TcpStream;

use super::{Check, Verdict};
use crate::cli::connect::host_port;
use crate::config::{Endpoint, Server, Transport};

pub(super) async fn server(server: &Server) -> Vec<Check> {
    let name = format!("servers.{}", server.name);
    match &server.transport {
        Transport::Stdio {
            command, env, cwd, ..
        } => {
            let search = Search::of(env, cwd.as_deref(), std::env::var_os("PATH"));
            let mut checks = vec![program(&name, command, &search)];
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

/// Where the start looks for a bare name: in the child's own `PATH`, whose relative directories begin where it runs.
struct Search {
    dirs: Option<Vec<PathBuf>>,
    /// How a message calls it.
    path: &'static str,
    remedy: &'static str,
}

impl Search {
    fn of(env: &[(String, SecretString)], cwd: Option<&Path>, inherited: Option<OsString>) -> Self {
        let own = env.iter().find(|(name, _)| name == "PATH");
        let (path, value, remedy) = match own {
            Some((_, value)) => (
                "the `PATH` of its `env`",
                Some(OsString::from(value.expose_secret())),
                "add its directory there",
            ),
            None => ("PATH", inherited, "install it"),
        };
        let cwd = cwd.unwrap_or_else(|| Path::new(""));
        Self {
            dirs: value.map(|value| {
                std::env::split_paths(&value)
                    .map(|dir| cwd.join(dir))
                    .collect()
            }),
            path,
            remedy,
        }
    }
}

fn program(name: &str, command: &str, search: &Search) -> Check {
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
    let Some(dirs) = &search.dirs else {
        return Check::new(
            name,
            Verdict::Unchecked,
            format!("`{command}` cannot be looked up: PATH is not set"),
            "set PATH",
        );
    };
    let mut files = dirs.iter().map(|dir| dir.join(command));
    match files.find(|file| is_program(file)) {
        Some(file) => Check::good(name, format!("{command} is {}", file.display())),
        None => Check::failed(
            name,
            format!("`{command}` is not in {}", search.path),
            format!("{}, or write its full path", search.remedy),
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
        let there = format!("/nowhere:{}", dir.path().display());
        let look = |command: &str, inherited: Option<&str>| {
            let search = Search::of(&[], None, inherited.map(OsString::from));
            program("a", command, &search).result
        };
        assert_eq!(look("tool", Some(&there)), Verdict::Failed);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(look("tool", Some(&there)), Verdict::Good);
        assert_eq!(look(file.to_str().unwrap(), Some(&there)), Verdict::Good);
        assert_eq!(look("/nowhere/tool", Some(&there)), Verdict::Failed);
        assert_eq!(look("tool", None), Verdict::Unchecked);
    }

    #[test]
    fn a_path_of_the_childs_own_counts() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("bin").join("tool");
        std::fs::create_dir(dir.path().join("bin")).unwrap();
        std::fs::write(&file, "").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        let there = dir.path().join("bin");
        let look = |own: &str, inherited: &str| {
            let env = [("PATH".to_owned(), SecretString::from(own))];
            let search = Search::of(&env, Some(dir.path()), Some(inherited.into()));
            program("a", "tool", &search)
        };
        let there = there.to_str().unwrap();
        assert_eq!(look(there, "/nowhere").result, Verdict::Good);
        assert_eq!(look("bin", "/nowhere").result, Verdict::Good);
        let missing = look("/nowhere", there);
        assert_eq!(missing.result, Verdict::Failed);
        assert_eq!(missing.detail, "`tool` is not in the `PATH` of its `env`");
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
