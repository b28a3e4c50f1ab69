//! Where something stands in a text.

use std::ops::Range;

/// Byte range inside a message. `u32` because a message is bounded far below 4 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// Of offsets into a text that is known to be smaller than 4 GiB; larger ones stop at the largest.
    pub fn new(start: usize, end: usize) -> Self {
        let narrow = |offset| u32::try_from(offset).unwrap_or(u32::MAX);
        Self {
            start: narrow(start),
            end: narrow(end),
        }
    }

    /// As a `usize` range, for indexing.
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// The text of this span in `text`, which must be the text that the span was found in.
    pub fn of(self, text: &str) -> &str {
        &text[self.range()]
    }

    /// This span moved right by `offset`: from a position inside a value to one inside its message.
    #[must_use]
    pub fn shift(self, offset: u32) -> Self {
        Self {
            start: self.start + offset,
            end: self.end + offset,
        }
    }
}
