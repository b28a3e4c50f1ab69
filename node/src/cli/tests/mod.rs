//! Whole command lines in, text and exit status out.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;

/// Writes into shared memory.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Memory {
    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
    }
}

/// Refuses to start anything, with what it was asked for as the reason.
struct Asked;

impl Starts for Asked {
    /// 2026-11-22.
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_305_600)
    }

    fn serve(&self, options: ServeOptions) -> Result<(), Failure> {
        Err(Failure::new(format!("{options:?}"), ""))
    }

    fn stdio(&self, options: StdioOptions) -> Result<(), Failure> {
        Err(Failure::new(format!("{options:?}"), ""))
    }

    fn demo(&self, options: DemoOptions) -> Result<(), Failure> {
        Err(Failure::new(format!("{options:?}"), ""))
    }

    fn demo_server(&self) -> Result<(), Failure> {
        Err(Failure::new("demo server", ""))
    }

    fn cluster_init(&self, config: &Path) -> Result<(String, String), Failure> {
        Err(Failure::new(format!("init {}", config.display()), ""))
    }

    fn cluster_join(
        &self,
        config: &Path,
        token: Option<&str>,
        learner: bool,
    ) -> Result<String, Failure> {
        let config = config.display();
        let message = format!("join {config} {token:?} learner: {learner}");
        Err(Failure::new(message, ""))
    }

    fn snapshot_inspect(&self, file: &Path) -> Result<serde_json::Value, Failure> {
        Err(Failure::new(format!("inspect {}", file.display()), ""))
    }

    fn snapshot_salvage(&self, data_dir: &Path, file: &Path) -> Result<serde_json::Value, Failure> {
        let message = format!("salvage {} to {}", data_dir.display(), file.display());
        Err(Failure::new(message, ""))
    }

    fn snapshot_restore(
        &self,
        args: &RestoreArgs,
        _on_written: &mut dyn FnMut(u64),
    ) -> Result<serde_json::Value, Failure> {
        Err(Failure::new(format!("{args:?}"), ""))
    }

    fn check_cluster_files(&self, _cluster: &ClusterNode) -> Result<(), Failure> {
        Err(Failure::new("the files are wrong", ""))
    }

    fn dev_certs(
        &self,
        dir: &Path,
        trust_domain: &str,
        nodes: &[String],
    ) -> Result<Vec<PathBuf>, Failure> {
        let dir = dir.display();
        Err(Failure::new(
            format!("certs {dir} {trust_domain} {nodes:?}"),
            "",
        ))
    }
}

pub(super) struct Ran {
    pub exit: Exit,
    pub out: String,
    pub err: String,
}

pub(super) fn lockgate(args: &[&str]) -> Ran {
    let (results, notes) = (Memory::default(), Memory::default());
    let mut out = Out::to(Box::new(results.clone()), Box::new(notes.clone()), false);
    let args = std::iter::once("lockgate")
        .chain(args.iter().copied())
        .map(OsString::from);
    let exit = run_args(args, &Asked, &mut out);
    Ran {
        exit,
        out: results.take(),
        err: notes.take(),
    }
}

mod admin;
mod tls;

#[test]
fn the_command_line_is_sound() {
    use clap::CommandFactory;
    Cli::command().debug_assert();
}

#[test]
fn verbs_that_start_a_gateway_get_their_options() {
    let ran = lockgate(&["serve", "--config", "a.yaml", "--ready-json"]);
    assert_eq!(ran.exit, Exit::Failed);
    insta::assert_snapshot!(ran.err, @r#"error: ServeOptions { config: ConfigFile { file: None, config: Some("a.yaml") }, ready_json: true, unsafe_no_auth: false }"#);
    insta::assert_snapshot!(lockgate(&["stdio"]).err, @"error: StdioOptions { config: ConfigFile { file: None, config: None } }");
    insta::assert_snapshot!(lockgate(&["demo", "--listen", "127.0.0.1:0"]).err, @"error: DemoOptions { listen: Some(127.0.0.1:0), admin_listen: None, nodes: 1, ready_json: false }");
}

#[test]
fn a_configuration_file_is_named_either_way_and_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.yaml");
    std::fs::write(&file, "servers: { a: { command: x } }\n").unwrap();
    let file = file.to_str().unwrap();
    for verb in ["check", "show"] {
        for named in [&[file][..], &["--config", file], &["-c", file]] {
            let ran = lockgate(&[&["config", verb], named].concat());
            assert_eq!(ran.exit, Exit::Done, "{verb} {named:?}: {}", ran.err);
        }
        let twice = lockgate(&["config", verb, file, "--config", file]);
        assert_eq!(twice.exit, Exit::Usage, "{}", twice.out);
    }
    for verb in [&["cluster", "init"][..], &["cluster", "join"]] {
        for (named, want) in [
            (&["b.yaml"][..], "b.yaml"),
            (&["-c", "b.yaml"], "b.yaml"),
            (&[], "lockgate.yaml"),
        ] {
            let ran = lockgate(&[verb, named].concat());
            assert!(ran.err.contains(want), "{verb:?} {named:?}: {}", ran.err);
        }
    }
    for verb in ["serve", "stdio"] {
        let ran = lockgate(&[verb, "b.yaml"]);
        assert!(ran.err.contains("b.yaml"), "{}", ran.err);
    }
}

#[test]
fn a_demo_has_one_node_or_as_many_as_survive_one_more_failure() {
    for nodes in ["1", "3", "5"] {
        let ran = lockgate(&["demo", "--nodes", nodes]);
        assert!(ran.err.contains(&format!("nodes: {nodes}")), "{}", ran.err);
    }
    for nodes in ["0", "2", "4", "6", "x"] {
        let ran = lockgate(&["demo", "--nodes", nodes]);
        assert_eq!(ran.exit, Exit::Usage);
        let why = ran.err.contains("1, 3 or 5");
        assert!(why, "{}", ran.err);
    }
}

#[test]
fn filters_of_the_audit_log_name_fields_and_times_that_there_are() {
    for verb in ["log", "tail", "export"] {
        let ran = lockgate(&["audit", verb, "--where", "tol=x"]);
        assert_eq!(ran.exit, Exit::Usage);
        let known = ran.err.contains("no field `tol`") && ran.err.contains(" tool, ");
        assert!(known, "{}", ran.err);
    }
    for (time, exit) in [
        ("2026", Exit::Failed),
        ("2026-11-21", Exit::Failed),
        ("2026-11-21T08:00:01.5", Exit::Failed),
        ("21.11.2026", Exit::Usage),
        ("yesterday", Exit::Usage),
        ("", Exit::Usage),
    ] {
        let place = ["--data-dir", "/nowhere"];
        let ran = lockgate(&[&["audit", "log", "--since", time], &place[..]].concat());
        assert_eq!(ran.exit, exit, "{time}: {}", ran.err);
    }
}

#[test]
fn usage_errors_end_with_2_and_help_with_0() {
    assert_eq!(lockgate(&["frobnicate"]).exit, Exit::Usage);
    assert_eq!(lockgate(&["keys", "create"]).exit, Exit::Usage);
    assert_eq!(
        lockgate(&["--admin", "ftp://x", "keys", "list"]).exit,
        Exit::Usage
    );
    let help = lockgate(&["--help"]);
    assert_eq!(help.exit, Exit::Done);
    assert!(help.out.contains("Exit status"), "{}", help.out);
}

#[test]
fn init_writes_a_file_that_passes_and_never_overwrites() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("lockgate.yaml");
    let file = file.to_str().unwrap();
    let ran = lockgate(&["init", file]);
    assert_eq!(
        (ran.exit, ran.err.contains("export LOCKGATE_CI_KEY=lg_")),
        (Exit::Done, true),
        "{}",
        ran.err
    );
    let checked = lockgate(&["config", "check", file]);
    assert_eq!(
        (checked.exit, &*checked.err),
        (Exit::Done, ""),
        "{}",
        checked.out
    );
    assert!(dir.path().join("lockgate.schema.json").exists());

    std::fs::write(file, "separator: '-'").unwrap();
    let again = lockgate(&["init", file]);
    assert_eq!(again.exit, Exit::Failed);
    assert!(again.err.contains("is there already"), "{}", again.err);
    assert_eq!(std::fs::read_to_string(file).unwrap(), "separator: '-'");
}

#[test]
fn the_commented_parts_of_the_first_file_pass_too() {
    // Comments that are prose start with a capital letter.
    let uncommented = |line: &str| match line.strip_prefix("  # ") {
        Some(yaml) if !yaml.starts_with(char::is_uppercase) => format!("  {yaml}"),
        _ => line.replace("anonymous: [me]", "anonymous: deny"),
    };
    let text: Vec<String> = init::TEMPLATE.lines().map(uncommented).collect();
    let text = text.join("\n");
    let env: crate::config::Env = Arc::new(|_| Some("0123456789abcdef".to_owned()));
    let options = crate::config::Options {
        unsafe_no_auth: false,
        env,
    };
    let loaded = crate::config::parse(&text, None, std::path::Path::new("/"), &options);
    let registry = loaded
        .unwrap_or_else(|problems| panic!("{problems}\n{text}"))
        .config
        .registry;
    assert_eq!(
        (
            registry.servers.len(),
            registry.roles.len(),
            registry.identity.api_keys.len()
        ),
        (2, 2, 1)
    );
}

#[test]
fn check_lists_everything_that_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.yaml");
    std::fs::write(&file, "lisen: x\nservers: { a: { url: 'ftp://x' } }\n").unwrap();
    let ran = lockgate(&["config", "check", file.to_str().unwrap()]);
    assert_eq!(ran.exit, Exit::Failed);
    assert_eq!(ran.out.lines().count(), 2, "{}", ran.out);
    let json = lockgate(&["config", "check", "--json", file.to_str().unwrap()]);
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(
        (json["ok"].as_bool(), json["problems"][0]["line"].as_u64()),
        (Some(false), Some(1))
    );
}

#[test]
fn show_hides_what_a_file_holds() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.yaml");
    std::fs::write(
        &file,
        "servers: { a: { command: x, env: { TOKEN: planted } } }\n",
    )
    .unwrap();
    for json in [&[][..], &["--json"]] {
        let ran = lockgate(
            &[
                &["config", "show", "--config", file.to_str().unwrap()],
                json,
            ]
            .concat(),
        );
        assert_eq!(ran.exit, Exit::Done, "{}", ran.err);
        assert!(
            ran.out.contains("***") && !ran.out.contains("planted"),
            "{}",
            ran.out
        );
    }
}

#[test]
fn import_prints_yaml_and_names_the_variables() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mcp.json");
    std::fs::write(
        &file,
        r#"{ "mcpServers": { "a": { "command": "x", "env": { "A_TOKEN": "planted" } } } }"#,
    )
    .unwrap();
    let ran = lockgate(&["config", "import", file.to_str().unwrap()]);
    assert_eq!(ran.exit, Exit::Done);
    assert!(
        ran.out.contains("A_TOKEN: ${A_TOKEN}") && !ran.out.contains("planted"),
        "{}",
        ran.out
    );
    assert!(ran.err.contains("  A_TOKEN  "), "{}", ran.err);
    assert!(ran.err.contains("before you commit"), "{}", ran.err);
    std::fs::write(&file, b"\xe4").unwrap();
    let ran = lockgate(&["config", "import", file.to_str().unwrap()]);
    assert_eq!(ran.exit, Exit::Failed);
    assert!(ran.err.contains("save it as UTF-8"), "{}", ran.err);
}

#[test]
fn a_file_without_content_or_command_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.yaml");
    for (text, named) in [
        ("", "the file is empty"),
        ("~\n", "the file is empty"),
        (
            "servers: { a: { command: ' ' } }\n",
            "servers.a.command: the text is empty",
        ),
    ] {
        std::fs::write(&file, text).unwrap();
        let ran = lockgate(&["config", "check", file.to_str().unwrap()]);
        assert_eq!(ran.exit, Exit::Failed);
        assert!(ran.out.contains(named), "{}", ran.out);
    }
}

#[test]
fn an_audit_file_that_cannot_be_opened_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    for (file, named) in [
        ("a.jsonl", "is writable"),
        ("none/a.jsonl", "there is no directory"),
        (".", "is a directory"),
    ] {
        let text = format!(
            "listen: 127.0.0.1:0\nadmin: {{ listen: '127.0.0.1:0' }}\ndata_dir: data\naudit: {{ file: {file} }}\n"
        );
        std::fs::write(path("a.yaml"), text).unwrap();
        let ran = lockgate(&["doctor", "--admin", "http://127.0.0.1:1", &path("a.yaml")]);
        assert_eq!(ran.exit == Exit::Done, file == "a.jsonl", "{}", ran.out);
        assert!(ran.out.contains(named), "{}", ran.out);
    }
}

#[test]
fn a_certificate_with_another_key_is_found_before_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let other = rcgen::KeyPair::generate().unwrap();
    std::fs::write(path("cert.pem"), pair.cert.pem()).unwrap();
    std::fs::write(path("own.key"), pair.signing_key.serialize_pem()).unwrap();
    std::fs::write(path("other.key"), other.serialize_pem()).unwrap();
    for (key, named) in [
        ("own.key", ""),
        ("other.key", "cannot be used together"),
        ("none.key", "none.key"),
    ] {
        let text = format!(
            "listen: 127.0.0.1:0\nadmin: {{ listen: '127.0.0.1:0' }}\ndata_dir: data\ntls: {{ cert: cert.pem, key: {key} }}\n"
        );
        std::fs::write(path("a.yaml"), text).unwrap();
        let check = lockgate(&["config", "check", &path("a.yaml")]);
        let doctor = lockgate(&["doctor", "--admin", "http://127.0.0.1:1", &path("a.yaml")]);
        let is_good = named.is_empty();
        assert_eq!(check.exit == Exit::Done, is_good, "{}", check.out);
        assert_eq!(doctor.exit == Exit::Done, is_good, "{}", doctor.out);
        assert!(check.out.contains(named), "{}", check.out);
        assert!(doctor.out.contains(named), "{}", doctor.out);
    }
}

#[test]
fn doctor_names_each_fault_with_its_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.yaml");
    let text = "listen: 127.0.0.1:0\nadmin: { listen: '127.0.0.1:0' }\ntls: { cert: none.pem, key: none.key }\n\
                servers: { a: { command: no-such-program-anywhere } }\n";
    std::fs::write(&file, text).unwrap();
    let ran = lockgate(&[
        "doctor",
        "--admin",
        "http://127.0.0.1:1",
        "--json",
        "--config",
        file.to_str().unwrap(),
    ]);
    assert_eq!(ran.exit, Exit::Failed);
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let failed = json["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["result"] == "failed");
    let failed: Vec<&str> = failed
        .map(|check| check["name"].as_str().unwrap())
        .collect();
    assert_eq!(failed, ["tls.cert", "tls.key", "servers.a"]);
}

#[test]
fn a_server_that_does_not_answer_cannot_be_probed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.yaml");
    std::fs::write(
        &file,
        "servers: { a: { command: no-such-program-anywhere } }\n",
    )
    .unwrap();
    let ran = lockgate(&[
        "config",
        "check",
        "--probe",
        "--json",
        file.to_str().unwrap(),
    ]);
    assert_eq!(ran.exit, Exit::Unchecked, "{}", ran.err);
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(
        (json["ok"].as_bool(), json["probes"][0]["name"].as_str()),
        (Some(false), Some("servers.a"))
    );
}

#[test]
fn an_empty_name_is_told_from_a_path_that_is_not_there() {
    for verb in ["keys revoke", "servers remove", "cluster remove"] {
        let verb: Vec<&str> = verb.split(' ').chain([""]).collect();
        let ran = lockgate(&verb);
        assert_eq!(ran.exit, Exit::Failed);
        assert!(ran.err.contains("an empty name is nobody's"), "{}", ran.err);
    }
}

#[test]
fn a_gateway_that_is_not_there_is_named() {
    let ran = lockgate(&["keys", "list", "--admin", "http://127.0.0.1:1"]);
    assert_eq!(ran.exit, Exit::Failed);
    insta::assert_snapshot!(ran.err, @"
    error: no answer from 127.0.0.1:1: Connection refused (os error 111)
      try: start the gateway with `lockgate serve`, or name its address (--admin or LOCKGATE_ADMIN)
    ");
}
