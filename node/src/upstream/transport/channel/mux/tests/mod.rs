mod calls;
mod copy;
mod property;
mod questions;
mod sharing;
mod stateless;

use lockgate_proto::jsonrpc::{Legible, Limits, ParseError};

use super::*;

fn frame(text: &str) -> Frame {
    Frame::parse(text.to_owned().into(), &Limits::default()).unwrap()
}

/// A request with members around the id, which must stay as they are.
fn request(id: &str, method: &str, params: &str) -> Frame {
    frame(&format!(
        r#"{{"x":1.0,"id":{id},"jsonrpc":"2.0","method":"{method}","params":{params}}}"#
    ))
}

fn notification(method: &str, params: &str) -> Frame {
    frame(&format!(
        r#"{{"jsonrpc":"2.0","method":"{method}","params":{params}}}"#
    ))
}

fn result(n: u64, body: &str) -> Frame {
    frame(&format!(r#"{{"jsonrpc":"2.0","id":{n},"result":{body}}}"#))
}

fn mux(sharing: Sharing) -> Mux {
    let mut mux = Mux::new();
    assert!(mux.claim(sharing));
    mux
}

/// Sends, and gives the number.
fn begin(mux: &mut Mux, owner: Owner, request: &Frame) -> u64 {
    match mux.on_request(owner, request) {
        Some(Outcome::Line { call, .. }) => call,
        other => panic!("not sent: {other:?}"),
    }
}

fn call(mux: &mut Mux, owner: Owner, id: &str) -> u64 {
    begin(mux, owner, &request(id, "tools/call", "{}"))
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn show(effect: &Effect) -> String {
    match effect {
        Effect::Finish(n, frame) => format!("finish {n} {}", frame.text()),
        Effect::Spoil(n, what) => format!("spoil {n} {what}"),
        Effect::Pass(n, frame) => format!("pass {n} {}", frame.text()),
        Effect::Post(Owner(owner), frame) => format!("post {owner} {}", frame.text()),
        Effect::Reply(line) => format!("reply {}", text(line)),
        Effect::Drop(why) => format!("drop {why}"),
        Effect::Stray(frame) => format!("stray {}", frame.text()),
    }
}

/// What becomes of a message of the server.
fn hear(mux: &mut Mux, frame: &Frame) -> Vec<String> {
    mux.on_frame(frame.clone()).iter().map(show).collect()
}

/// Only where it goes.
fn goes(mux: &mut Mux, frame: &Frame) -> Vec<String> {
    let place = |effect: String| effect.split_inclusive(' ').take(2).collect::<String>();
    let places = hear(mux, frame).into_iter().map(place);
    places.map(|place| place.trim().to_owned()).collect()
}

fn line(mux: &mut Mux, owner: Owner, frame: &Frame) -> String {
    match mux.on_request(owner, frame) {
        Some(Outcome::Line { line, .. }) => text(&line),
        Some(Outcome::Answer(frame)) => format!("answer {}", frame.text()),
        None => "none".to_owned(),
    }
}

fn updated(uri: &str) -> Frame {
    notification(method::RESOURCE_UPDATED, &format!(r#"{{"uri":"{uri}"}}"#))
}

fn logged(name: &str) -> Frame {
    notification(
        method::LOG_MESSAGE,
        &format!(r#"{{"level":"{name}","data":1}}"#),
    )
}
