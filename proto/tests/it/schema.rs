//! The protobuf between nodes only ever grows: every field that was released keeps its number, name and type.

#![expect(
    clippy::unwrap_used,
    reason = "what fails in a test should panic with a backtrace"
)]

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use protox::prost_reflect::{DescriptorPool, MessageDescriptor};

/// One line a field, enum value and method: what another version of a node relies on.
fn schema() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let files = std::fs::read_dir(root.join("lockgate/peer/v1")).unwrap();
    let files: Vec<_> = files.map(|entry| entry.unwrap().path()).collect();
    let descriptors = protox::compile(&files, [root]).unwrap();
    let pool = DescriptorPool::from_file_descriptor_set(descriptors).unwrap();
    let messages = pool.all_messages().flat_map(|message| fields(&message));
    let enums = pool.all_enums().flat_map(|one| {
        let lines = one.values();
        let lines =
            lines.map(|value| format!("{} {} {}", one.full_name(), value.number(), value.name()));
        lines.collect::<Vec<_>>()
    });
    let methods = pool.services().flat_map(|service| {
        let lines = service.methods();
        let lines = lines.map(|method| {
            let (input, output) = (method.input(), method.output());
            let stream = |on| if on { "stream " } else { "" };
            format!(
                "{} ({}{}) ({}{})",
                method.full_name(),
                stream(method.is_client_streaming()),
                input.full_name(),
                stream(method.is_server_streaming()),
                output.full_name()
            )
        });
        lines.collect::<Vec<_>>()
    });
    messages
        .chain(enums)
        .chain(methods)
        .filter(|line| line.starts_with("lockgate."))
        .collect()
}

fn fields(message: &MessageDescriptor) -> Vec<String> {
    let fields = message.fields();
    let fields = fields.map(|field| {
        let oneof = field
            .containing_oneof()
            .filter(|_| !field.field_descriptor_proto().proto3_optional());
        let oneof = oneof.map_or_else(String::new, |oneof| format!(" oneof {}", oneof.name()));
        let list = if field.is_list() { " repeated" } else { "" };
        format!(
            "{} {} {}{list} {:?}{oneof}",
            message.full_name(),
            field.number(),
            field.name(),
            field.kind()
        )
    });
    fields.collect()
}

/// `LOCKGATE_GOLDEN=write` adds what is new; what stands there is changed by nobody.
#[test]
fn what_was_released_stays_as_it_is() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/schema.txt");
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    let golden: BTreeSet<String> = golden.lines().map(str::to_owned).collect();
    let now = schema();
    let gone: Vec<_> = golden.difference(&now).collect();
    assert!(
        gone.is_empty(),
        "changed or taken away, which no other version understands: {gone:#?}"
    );
    let new: Vec<_> = now.difference(&golden).collect();
    if new.is_empty() {
        return;
    }
    assert!(
        std::env::var_os("LOCKGATE_GOLDEN").is_some(),
        "new, and to be written down with LOCKGATE_GOLDEN=write: {new:#?}"
    );
    let mut text = String::new();
    for line in &now {
        writeln!(text, "{line}").unwrap();
    }
    std::fs::write(path, text).unwrap();
}
