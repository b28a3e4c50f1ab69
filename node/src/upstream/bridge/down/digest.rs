//! Digests that tie a parked call to its caller and to its request.

use aws_lc_rs::digest::{Context, SHA256};
use lockgate_proto::jsonrpc::{Frame, decode_str, elements, members};

use crate::upstream::Owner;

use super::turn::is_of_round;

/// SHA-256.
pub(super) type Digest = [u8; 32];

/// Of tenant, principal and route.
pub(super) fn of_owner(owner: &Owner<'_>) -> Digest {
    let mut sink = Sink::new();
    sink.caller(owner);
    sink.piece(b'r', if owner.scoped { "server" } else { "merged" });
    sink.finish()
}

/// Of tenant and principal.
pub(super) fn of_caller(owner: &Owner<'_>) -> Digest {
    let mut sink = Sink::new();
    sink.caller(owner);
    sink.finish()
}

/// Of method and parameters, without what differs from round to round. Two spellings of one request (order of
/// members, blanks, escapes) have one digest, and so have two calls that are the same to the letter: which of a caller's
/// like calls goes on, the state that it brings says alone.
pub(super) fn of_request(frame: &Frame) -> Digest {
    let mut sink = Sink::new();
    sink.piece(b'm', &frame.method());
    let params = frame.params().unwrap_or("{}");
    sink.object(params, |key| !is_of_round(key));
    sink.finish()
}

struct Sink(Context);

impl Sink {
    fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    /// Its length goes with each piece, so that no two sequences of pieces are alike.
    fn piece(&mut self, kind: u8, text: &str) {
        self.0.update(&[kind]);
        self.0.update(&(text.len() as u64).to_be_bytes());
        self.0.update(text.as_bytes());
    }

    fn caller(&mut self, owner: &Owner<'_>) {
        match owner.tenant {
            Some(tenant) => self.piece(b't', tenant.as_str()),
            None => self.piece(b'-', ""),
        }
        self.piece(b'p', owner.principal.as_str());
    }

    /// The depth is bounded by what the message was read with.
    fn value(&mut self, raw: &str) {
        match raw.as_bytes().first() {
            Some(b'{') => self.object(raw, |_| true),
            Some(b'[') => {
                self.0.update(b"[");
                for element in elements(raw) {
                    self.value(element.of(raw));
                }
                self.0.update(b"]");
            }
            Some(b'"') => match decode_str(raw) {
                Some(text) => self.piece(b's', &text),
                None => self.piece(b'?', raw),
            },
            _ => self.piece(b'v', raw),
        }
    }

    fn object(&mut self, raw: &str, is_kept: impl Fn(&str) -> bool) {
        let mut found: Vec<_> = members(raw).filter(|member| is_kept(&member.key)).collect();
        found.sort_by(|a, b| a.key.cmp(&b.key));
        self.0.update(b"{");
        for member in found {
            self.piece(b'k', &member.key);
            self.value(member.value);
        }
        self.0.update(b"}");
    }

    fn finish(self) -> Digest {
        let mut digest = Digest::default();
        digest.copy_from_slice(self.0.finish().as_ref());
        digest
    }
}

#[cfg(test)]
mod tests {
    use lockgate_proto::id::{Principal, Tenant};
    use lockgate_proto::jsonrpc::Limits;

    use super::*;

    fn request(method: &str, params: &str) -> Digest {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
        of_request(&Frame::parse(text.into(), &Limits::default()).unwrap())
    }

    #[test]
    fn spelling_and_round_do_not_count() {
        let plain = request(
            "tools/call",
            r#"{"name":"a","arguments":{"x":[1,"b"],"y":{}}}"#,
        );
        for same in [
            r#"{"arguments":{"y":{ },"x":[1, "\u0062"]},"name":"a"}"#,
            r#"{"name":"a","requestState":"s","arguments":{"x":[1,"b"],"y":{}},"inputResponses":{},"_meta":{"k":1}}"#,
        ] {
            assert_eq!(request("tools/call", same), plain, "{same}");
        }
        for other in [
            r#"{"name":"b","arguments":{"x":[1,"b"],"y":{}}}"#,
            r#"{"name":"a","arguments":{"x":["b",1],"y":{}}}"#,
            r#"{"name":"a","arguments":{"x":[1,"b"],"y":{},"_meta":{}}}"#,
            r#"{"name":"a","arguments":{"x":[[1,"b"]],"y":{}}}"#,
            r#"{"name":"a"}"#,
        ] {
            assert_ne!(request("tools/call", other), plain, "{other}");
        }
        let method = request(
            "prompts/get",
            r#"{"name":"a","arguments":{"x":[1,"b"],"y":{}}}"#,
        );
        assert_ne!(method, plain);
    }

    #[test]
    fn tenant_principal_and_route_count() {
        let (ann, bob) = (Principal::new("ann"), Principal::new("bob"));
        let tenant = Tenant::new("ann");
        let owner = |tenant, principal, scoped| Owner {
            tenant,
            principal,
            scoped,
        };
        let all = [
            owner(None, &ann, true),
            owner(None, &ann, false),
            owner(None, &bob, true),
            owner(Some(&tenant), &ann, true),
        ];
        let distinct: std::collections::HashSet<_> = all.iter().map(of_owner).collect();
        assert_eq!(distinct.len(), all.len());
        let callers: std::collections::HashSet<_> = all.iter().map(of_caller).collect();
        assert_eq!(callers.len(), 3, "one caller on two routes is one caller");
    }
}
