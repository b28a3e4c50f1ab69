//! A body that may be an array of messages.

use bytes::Bytes;
use bytestring::ByteString;

use super::envelope;
use super::frame::checked_text;
use super::scanner::Scanner;
use super::{Frame, Limits, ParseError, Span};

/// A body that is one message or, in 2025-03-26, an array of them.
#[derive(Clone, Debug)]
pub enum Batch {
    /// A single message.
    One(Frame),
    /// An array, in order.
    Many(Vec<Frame>),
}

impl Batch {
    /// Reads a body. Elements share the allocation of `text`. One bad element refuses the batch.
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
}

fn many<'a>(
    text: &'a ByteString,
    mut scanner: Scanner<'a>,
    limits: &Limits,
) -> Result<Vec<Frame>, ParseError> {
    let mut frames = Vec::new();
    let mut refused = None;
    let mut n = 0;
    let mut more = scanner.open(false).map_err(|fault| scanner.error(fault))?;
    while more {
        n += 1;
        if n > limits.batch_max {
            // Only counted.
            scanner.value().map_err(|fault| scanner.error(fault))?;
        } else {
            match element(text, &mut scanner) {
                Ok(frame) => frames.push(frame),
                Err(error @ ParseError::Envelope { .. }) => refused = refused.or(Some(error)),
                Err(error) => return Err(error),
            }
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
    refused.map_or(Ok(frames), Err)
}

fn element<'a>(text: &'a ByteString, scanner: &mut Scanner<'a>) -> Result<Frame, ParseError> {
    let start = scanner.at();
    let envelope = envelope::read(scanner, text)?;
    let element = Span::new(start, scanner.at());
    let shifted = |span: Span| Span {
        start: span.start - element.start,
        end: span.end - element.start,
    };
    Ok(Frame::from_parts(
        text.slice_ref(element.of(text)),
        envelope.moved(shifted),
    ))
}
