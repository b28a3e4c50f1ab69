//! The gateway as a process of its own.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::peers::World;

/// The bearer token that the key of the configuration takes from the environment.
pub(crate) const TOKEN: &str = "peers-suite-key-0123456789abcdef0123456789abcdef";
/// Longest start of all servers, on a machine that does other things, too.
const SERVERS_MAX: Duration = Duration::from_secs(120);
const TOKEN_ENV: &str = "PEERS_SUITE_KEY";
/// How the log is filled.
const FILLER_BYTES: usize = 300;
/// So many entries. Measured: memory is level from 35,000 on.
const FULL_AFTER: u64 = 40_000;
const WRITERS: usize = 8;
const WRITES_AT_ONCE: usize = 100;

/// A running gateway. Dropped, it ends.
#[derive(Debug)]
pub(crate) struct Gateway {
    listen: String,
    admin: String,
    process: Child,
}

impl Gateway {
    /// Starts a gateway in front of the given servers on a port that the kernel chooses.
    ///
    /// The suites of others cannot send a token, so a gateway can also let everybody in: it listens on loopback.
    pub(crate) fn start(world: &World, servers: &Value, anonymous: bool) -> Self {
        let folder = world.scratch(&format!("gateway-{}", servers.as_object().unwrap().len()));
        let principals = principals(world);
        let mut config = json!({
            "listen": "127.0.0.1:0",
            "admin": { "listen": "127.0.0.1:0" },
            "data_dir": folder.join("data"),
            "identity": {
                "api_keys": principals.iter().map(|(name, env, _token)| json!({
                    "id": name, "key_env": env, "principal": name, "roles": ["all"],
                })).collect::<Vec<_>>(),
            },
            "roles": { "all": { "allow": ["*"] } },
            "servers": servers,
        });
        if anonymous {
            config["identity"]["anonymous"] = json!(["all"]);
        }
        // JSON is YAML.
        let file = folder.join("lockgate.yaml");
        std::fs::write(&file, config.to_string()).unwrap();
        let log = std::fs::File::create(folder.join("lockgate.log")).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_lockgate"))
            .args(["serve", "--ready-json", "--config"])
            .arg(&file)
            .envs(principals.iter().map(|(_name, env, token)| (env, token)))
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let said = ready(&mut process, &folder.join("lockgate.log"));
        let address = |key: &str| said[key].as_str().unwrap().to_owned();
        wait_for_servers(&address("admin"));
        Self {
            listen: address("listen"),
            admin: address("admin"),
            process,
        }
    }

    /// The endpoint that merges all servers under prefixed names.
    pub(crate) fn merged(&self) -> String {
        format!("http://{}/mcp", self.listen)
    }

    /// The same over HTTP+SSE of 2024-11-05.
    pub(crate) fn event_stream(&self) -> String {
        format!("http://{}/sse", self.listen)
    }

    /// The same over WebSocket.
    pub(crate) fn web_socket(&self) -> String {
        format!("ws://{}/ws", self.listen)
    }

    /// The endpoint of one server, under its own names.
    pub(crate) fn scoped(&self, server: &str) -> String {
        format!("http://{}/s/{server}/mcp", self.listen)
    }
}

impl Gateway {
    /// The transport that it found a server to speak.
    pub(crate) fn transport(&self, server: &str) -> String {
        let servers = get(&self.admin, "/api/v1/servers");
        let mut servers = servers["servers"].as_array().unwrap().iter();
        let found = servers.find(|one| one["name"] == server).unwrap();
        found["endpoints"][0]["transport"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// Writes into the log of the cluster until what the node keeps of it in memory, up to a bound, is at that bound: some
    /// snapshots later.
    pub(crate) fn fill_log(&self) {
        let value = json!({ "value": "x".repeat(FILLER_BYTES) }).to_string();
        let snapshot_index = || {
            let index = get(&self.admin, "/api/v1/snapshot")["index"].as_u64();
            index.unwrap_or(0)
        };
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let (value, admin) = (&value, &self.admin);
                scope.spawn(move || {
                    while snapshot_index() < FULL_AFTER {
                        for number in 0..WRITES_AT_ONCE {
                            let path = format!("/api/v1/registers/filler-{writer}-{number}");
                            ask(admin, "PUT", &path, value);
                        }
                    }
                });
            }
        });
    }

    /// Resident memory that is its own, not that of the program's file, in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("RssAnon:"))
            .unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// How many of its children have ended without being waited for.
    pub(crate) fn n_zombies(&self) -> usize {
        let parent = format!("PPid:\t{}", self.process.id());
        let statuses = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
            // A process may end while we look at it.
            std::fs::read_to_string(entry.ok()?.path().join("status")).ok()
        });
        statuses
            .filter(|status| status.contains(&parent) && status.contains("State:\tZ"))
            .count()
    }
}

/// Who may come in, each with the variable that has the token and with the token: the tester with [`TOKEN`], and those
/// that the world has beside him with their names at its end.
fn principals(world: &World) -> Vec<(String, String, String)> {
    let mut all = vec![("tester".to_owned(), TOKEN_ENV.to_owned(), TOKEN.to_owned())];
    for (number, name) in world.principals().into_iter().enumerate() {
        all.push((
            name.clone(),
            format!("{TOKEN_ENV}_{number}"),
            format!("{TOKEN}-{name}"),
        ));
    }
    all
}

/// Waits for the line that says where the gateway answers; the rest of its output is read and dropped.
fn ready(process: &mut Child, log: &Path) -> Value {
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    for line in lines.by_ref() {
        let Ok(said) = serde_json::from_str::<Value>(&line.unwrap()) else {
            continue;
        };
        if said["event"] == "ready" {
            std::thread::spawn(move || lines.for_each(drop));
            return said;
        }
    }
    panic!(
        "the gateway did not start:\n{}",
        std::fs::read_to_string(log).unwrap_or_default()
    );
}

/// Waits until the gateway has the lists of every server: some of them take long to start, and a gateway answers
/// without those that are not there yet.
fn wait_for_servers(admin: &str) {
    let begun = tokio::time::Instant::now();
    loop {
        let servers = get(admin, "/api/v1/servers");
        let missing: Vec<&Value> = servers["servers"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|server| {
                let lacks = |era: &str, list: &str| {
                    server["eras"][era] != json!(false) && server[list].is_null()
                };
                server["up"] != json!(true)
                    || lacks("session", "session_catalog")
                    || lacks("stateless", "stateless_catalog")
            })
            .collect();
        if missing.is_empty() {
            return;
        }
        assert!(
            begun.elapsed() < SERVERS_MAX,
            "servers do not come up: {missing:?}"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// One GET of the admin plane.
fn get(address: &str, path: &str) -> Value {
    ask(address, "GET", path, "")
}

/// One request to the admin plane.
fn ask(address: &str, method: &str, path: &str, body: &str) -> Value {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with("HTTP/1.1 200"),
        "{method} {path}: {answer}"
    );
    serde_json::from_str(body).unwrap()
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _already_gone = self.process.kill();
        let _ended = self.process.wait();
    }
}
