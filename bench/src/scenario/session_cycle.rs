//! A session opened and closed again.

use super::{expectation::read_result, protocol::Speaker};
use crate::{
    load::{Job, Step},
    wire::{Answer, PreparedRequest},
};

/// `initialize`, `notifications/initialized`, `DELETE`: one iteration.
#[derive(Debug)]
pub(super) struct SessionCycleJob {
    speaker: Speaker,
    request: PreparedRequest,
    at: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Initialize,
    Initialized,
    End,
}

impl SessionCycleJob {
    /// A job of one connection.
    pub(super) fn new(speaker: &Speaker) -> Self {
        let speaker = speaker.in_session(None);
        Self {
            request: speaker.initialize(),
            speaker,
            at: Stage::Initialize,
        }
    }
}

impl Job for SessionCycleJob {
    fn label(&self) -> &str {
        match self.at {
            Stage::Initialize => "initialize",
            Stage::Initialized => "notifications/initialized",
            Stage::End => "DELETE",
        }
    }

    fn request(&mut self, id: u64) -> &[u8] {
        self.request.for_call(id)
    }

    fn check(&mut self, id: u64, answer: Answer<'_>) -> Result<Step, String> {
        match self.at {
            Stage::Initialize => {
                read_result(id, answer)?;
                let session = answer.session_id.ok_or("no session id")?;
                self.speaker = self.speaker.in_session(Some(session.to_owned()));
                self.request = self.speaker.initialized();
                self.at = Stage::Initialized;
                Ok(Step::Again)
            }
            Stage::Initialized => {
                status_is(answer, 202..=202)?;
                self.request = self.speaker.end();
                self.at = Stage::End;
                Ok(Step::Again)
            }
            Stage::End => {
                status_is(answer, 200..=204)?;
                self.speaker = self.speaker.in_session(None);
                self.request = self.speaker.initialize();
                self.at = Stage::Initialize;
                Ok(Step::Done)
            }
        }
    }
}

fn status_is(answer: Answer<'_>, right: std::ops::RangeInclusive<u16>) -> Result<(), String> {
    if right.contains(&answer.status) {
        return Ok(());
    }
    Err(format!("status {} is outside {right:?}", answer.status))
}
