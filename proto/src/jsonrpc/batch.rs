//! A body that may be an array of messages.

use bytes::Bytes;
use bytestring::ByteString;

use super::envelope;
use super::frame::checked_text;
use super::scanner::Scanner;
use super::{Frame, Kind, Limits, ParseError, Span};

/// A body that is one message or, in 2025-03-26, an array of them.
#[derive(Clone, Debug)]
pub enum Batch {
    /// A single message.
    One(Frame),
    /// An array, in order.
    Many(Vec<Result<Frame, Unfit>>),
}

/// An element of a batch that is JSON, and no message. It concerns nobody but whoever waits for its answer: the elements
/// beside it stand (JSON-RPC 2.0 section 6).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct Unfit {
    /// The element as it stands.
    pub text: Bytes,
    /// Why it is no message.
    pub error: ParseError,
}

impl Batch {
    /// Reads a body. Elements share the allocation of `text`. What is no JSON, nested too deep or too many refuses
    /// them all.
    ///
    /// # Errors
    ///
    /// See [`ParseError`]. Offsets count from the start of the body.
    pub fn parse(text: Bytes, limits: &Limits) -> Result<Self, ParseError> {
        let text = checked_text(text, limits)?;
        let mut scanner = Scanner::new(&text, limits.depth_max);
        scanner.blanks();
        if scanner.peek() != Some(b'[') {
            return Frame::read(text, limits).map(Self::One);
        }
        many(&text, scanner, limits).map(Self::Many)
    }

    /// Whether it has something to answer: a request, or an element that is no message.
    pub fn wants_answer(&self) -> bool {
        match self {
            Self::One(frame) => frame.kind() == Kind::Request,
            Self::Many(elements) => elements.iter().any(|element| {
                let frame = element.as_ref();
                frame.map_or(true, |frame| frame.kind() == Kind::Request)
            }),
        }
    }
}

fn many<'a>(
    text: &'a ByteString,
    mut scanner: Scanner<'a>,
    limits: &Limits,
) -> Result<Vec<Result<Frame, Unfit>>, ParseError> {
    let mut elements = Vec::new();
    let mut n = 0;
    let mut more = scanner.open(false).map_err(|fault| scanner.error(fault))?;
    while more {
        n += 1;
        if n > limits.batch_max {
            // Only counted.
            scanner.value().map_err(|fault| scanner.error(fault))?;
        } else {
            elements.push(element(text, &mut scanner)?);
        }
        more = scanner.more().map_err(|fault| scanner.error(fault))?;
    }
    scanner.end().map_err(|fault| scanner.error(fault))?;
    if n == 0 || n > limits.batch_max {
        return Err(ParseError::Batch {
            n,
            max: limits.batch_max,
        });
    }
    Ok(elements)
}

/// An error is about the whole text.
fn element<'a>(
    text: &'a ByteString,
    scanner: &mut Scanner<'a>,
) -> Result<Result<Frame, Unfit>, ParseError> {
    let start = scanner.at();
    let read = envelope::read(scanner, text);
    let element = Span::new(start, scanner.at());
    let own = text.slice_ref(element.of(text));
    let envelope = match read {
        Ok(envelope) => envelope,
        Err(error @ ParseError::Envelope { .. }) => {
            let text = own.into_bytes();
            return Ok(Err(Unfit { text, error }));
        }
        Err(error) => return Err(error),
    };
    let shifted = |span: Span| Span {
        start: span.start - element.start,
        end: span.end - element.start,
    };
    Ok(Ok(Frame::from_parts(own, envelope.moved(shifted))))
}
