//! What all messages of one `subscriptions/listen` have in common.

use lockgate_proto::jsonrpc::{Frame, Splice, find};

/// Key in `_meta` of the raw id of the listen that a message belongs to.
pub const KEY: &str = "io.modelcontextprotocol/subscriptionId";

/// Resources that one listen may name, and as many tasks. Ours: more than a client shows to anybody, and few enough that
/// finding the server of each, and asking for the right to each whenever roles change, takes a moment only.
pub const NAMED_MAX: usize = 1_024;

/// A notification as one of the listen with the raw id `id`. `None` when it cannot be written so: without that id, which
/// each of them MUST carry, it is of no use to its client.
pub fn tagged(notification: &Frame, id: &str) -> Option<Frame> {
    let text = notification.text();
    let meta = format!(r#"{{"{KEY}":{id}}}"#);
    let mut splice = Splice::new(text);
    match notification.params_span() {
        None => {
            let params = format!(r#"{{"_meta":{meta}}}"#);
            splice.set_member(notification.object_span(), "params", &params);
        }
        Some(params) => {
            let own = find(params.of(text), "_meta").map(|own| own.shift(params.start));
            match own.filter(|own| own.of(text).starts_with('{')) {
                Some(own) => splice.set_member(own, KEY, id),
                // What is there and no object, `null` above all, says nothing that could stay.
                None => splice.set_member(params, "_meta", &meta),
            };
        }
    }
    // Params that are an array take no member.
    if splice.is_empty() {
        return None;
    }
    Frame::edited(splice).ok()
}

#[cfg(test)]
mod tests {
    use lockgate_proto::jsonrpc::Limits;

    use super::*;

    #[track_caller]
    fn check(rest: &str, expected: Option<&str>) {
        let text = |rest: &str| format!("\n{{\"jsonrpc\":\"2.0\",\"method\":\"n\"{rest}}} ");
        let frame = Frame::parse(text(rest).into(), &Limits::default()).unwrap();
        let tagged = tagged(&frame, "7");
        let expected = expected.map(|rest| text(&rest.replace('@', &format!(r#""{KEY}":7"#))));
        assert_eq!(tagged.as_ref().map(Frame::text), expected.as_deref());
    }

    #[test]
    fn every_notification_names_its_listen() {
        check("", Some(r#","params":{"_meta":{@}}"#));
        check(r#","params":{}"#, Some(r#","params":{"_meta":{@}}"#));
        check(
            r#","params":{"uri": "a"}"#,
            Some(r#","params":{"uri": "a","_meta":{@}}"#),
        );
        check(
            r#","params":{"_meta":{"k": 1},"uri":"a"}"#,
            Some(r#","params":{"_meta":{"k": 1,@},"uri":"a"}"#),
        );
    }

    #[test]
    fn what_is_no_object_gives_way_to_the_name() {
        for meta in ["null", "[]", "1", r#""x""#] {
            check(
                &format!(r#","params":{{"_meta":{meta},"uri":"a"}}"#),
                Some(r#","params":{"_meta":{@},"uri":"a"}"#),
            );
        }
        // Of a repeated key every reader finds the name.
        check(
            r#","params":{"_meta":{},"_meta":null}"#,
            Some(r#","params":{"_meta":{@}}"#),
        );
        check(r#","params":["a"]"#, None);
    }
}
