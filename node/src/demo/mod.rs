//! `lockgate demo`: a gateway on loopback with a small server of its own behind it, so that a first try needs nothing else.

mod caller;
mod fleet;
mod server;

use std::path::Path;

pub use self::caller::add;
pub use self::fleet::{Running, Seat, fleet_config, fleet_instructions};
pub use self::server::serve as serve_stdio;

/// Where the command line looks for the admin plane when it is not told.
const ADMIN_DEFAULT: &str = "127.0.0.1:7778";

/// What people type to run `program`: below `here` the path from there, else the whole path, quoted when a shell would
/// take it apart.
pub fn typed(program: &Path, here: Option<&Path>) -> String {
    let below = here.and_then(|here| program.strip_prefix(here).ok());
    let shown = match below {
        Some(below) => format!("./{}", below.display()),
        None => program.display().to_string(),
    };
    quoted(&shown)
}

/// Text as one word of a command.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    if text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// Configuration of the demo: `program` is this binary, which is its own demo server.
pub fn config(program: &Path, data_dir: &Path, listen: &str, admin: &str) -> String {
    // JSON strings are YAML strings: paths need no other quoting.
    let quoted = |path: &Path| lockgate_proto::jsonrpc::encode_str(&path.to_string_lossy());
    format!(
        r#"listen: {listen}
admin: {{ listen: {admin} }}
data_dir: {data}
identity: {{ anonymous: [demo] }}
roles: {{ demo: {{ allow: ["*"] }} }}
audit: {{ file: {audit} }}
servers:
  demo:
    command: {program}
    args: [demo-server]
"#,
        data = quoted(data_dir),
        audit = quoted(&data_dir.join("audit.jsonl")),
        program = quoted(program),
    )
}

/// How to connect a client, for people. `program` is what they type to run this binary, `admin` where it listens to
/// operators, `data_dir` where its state is.
pub fn instructions(program: &str, listen: &str, admin: &str, data_dir: &Path) -> String {
    let data_dir = data_dir.display();
    let program = match admin {
        ADMIN_DEFAULT => program.to_owned(),
        _ => format!("{program} --admin http://{admin}"),
    };
    let url = format!("http://{listen}/mcp");
    format!(
        r#"Lockgate is up. One URL for every server behind it:

    {url}

Connect a client:

    Claude Code     claude mcp add --transport http lockgate {url}
    VS Code         code --add-mcp '{{"name":"lockgate","type":"http","url":"{url}"}}'
    Cursor, others  {{"mcpServers": {{"lockgate": {{"url": "{url}"}}}}}}

Or call a tool from here:

    {program} tools list
    {program} tools call demo_add '{{"a": 2, "b": 40}}'

And see what its audit log has of it:

    {program} audit log

Its state is in {data_dir}. Ctrl-C ends it, and removes that directory.
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_can_be_typed() {
        let shown = |program: &str, here| typed(Path::new(program), Some(Path::new(here)));
        assert_eq!(
            shown("/src/target/release/lockgate", "/src"),
            "./target/release/lockgate"
        );
        assert_eq!(shown("/usr/bin/lockgate", "/src"), "/usr/bin/lockgate");
        assert_eq!(shown("/my own/it's", "/src"), r"'/my own/it'\''s'");
        assert_eq!(typed(Path::new("/bin/lockgate"), None), "/bin/lockgate");
    }

    #[test]
    fn commands_of_the_demo_reach_it() {
        let data = Path::new("/tmp/my demo");
        let text = instructions("./lockgate", "127.0.0.1:1", "127.0.0.1:7778", data);
        assert!(text.contains("\n    ./lockgate tools list\n"), "{text}");
        assert!(text.contains("\n    ./lockgate audit log\n"), "{text}");
        assert!(text.contains(" in /tmp/my demo. "), "{text}");
        let text = instructions("./lockgate", "127.0.0.1:1", "127.0.0.1:2", data);
        assert!(
            text.contains("\n    ./lockgate --admin http://127.0.0.1:2 tools list\n"),
            "{text}"
        );
        assert!(
            text.contains("\n    ./lockgate --admin http://127.0.0.1:2 audit log\n"),
            "{text}"
        );
    }
}
