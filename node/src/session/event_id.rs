//! The name of one event of a stream, as the client gives it back in `Last-Event-ID`.

/// Number of a stream within its session; 0 is the GET stream.
pub type StreamId = u32;

/// Number of a line of readers of one stream: a reader that begins anew, and those that go on where it was.
pub type LineId = u32;

/// How far a line of readers has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: LineId,
    /// Number of its last event, from 1; 0 is before the first one.
    pub n: u64,
}

/// Names one event to the client. Opaque to clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventId {
    /// How often the session's home changed.
    pub epoch: u32,
    /// Stream.
    pub stream: StreamId,
    /// Place in the stream.
    pub place: Place,
}

impl EventId {
    /// Reads `epoch-stream-n`, or `epoch-stream-n-line` where the line is not the first one.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (epoch, stream, n) = (parts.next()?, parts.next()?, parts.next()?);
        let line = parts.next().map_or(Some(0), |line| line.parse().ok())?;
        if parts.next().is_some() {
            return None;
        }
        Some(Self {
            epoch: epoch.parse().ok()?,
            stream: stream.parse().ok()?,
            place: Place {
                line,
                n: n.parse().ok()?,
            },
        })
    }
}

impl std::fmt::Display for EventId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Place { line, n } = self.place;
        write!(f, "{}-{}-{n}", self.epoch, self.stream)?;
        match line {
            0 => Ok(()),
            line => write!(f, "-{line}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_ids_round_trip() {
        for (line, text) in [(0, "1-2-3"), (4, "1-2-3-4")] {
            let id = EventId {
                epoch: 1,
                stream: 2,
                place: Place { line, n: 3 },
            };
            assert_eq!(id.to_string(), text);
            assert_eq!(EventId::parse(text), Some(id));
        }
        for bad in ["", "1-2", "1-2-3-4-5", "a-b-c", "1--3", "1-2-3-"] {
            assert_eq!(EventId::parse(bad), None, "{bad}");
        }
    }
}
