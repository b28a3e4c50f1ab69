//! One `tools/call` over and over, and a mix of several.

use std::rc::Rc;

use serde_json::{Value, json};

use super::{expectation::Expectation, protocol::Speaker};
use crate::{
    echo::blob_text,
    load::{Job, Step},
    wire::{Answer, PreparedRequest},
};

/// Notifications before the result of the progress stream.
pub(super) const PROGRESS_STEPS: usize = 10;

/// Which tool is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tool {
    /// A small argument that comes back.
    Echo,
    /// An argument of 20 kB that comes back.
    Upload,
    /// A result of 64 KiB.
    Blob,
    /// Progress notifications as server-sent events, then a result.
    Progress,
}

impl Tool {
    const fn name(self) -> &'static str {
        match self {
            Self::Echo | Self::Upload => "echo",
            Self::Blob => "blob",
            Self::Progress => "progress",
        }
    }

    /// What every right answer shows.
    pub(super) fn expectation(self) -> Rc<Expectation> {
        Rc::new(match self {
            Self::Echo => comes_back(ECHO_MESSAGE.to_owned()),
            Self::Upload => comes_back(upload_message()),
            Self::Blob => {
                // The text is JSON as it stands on the wire; what is compared is its value.
                let text = serde_json::from_str(&format!("\"{}\"", blob_text()));
                let text: Value = text.unwrap_or_default();
                Expectation::new(move |_id, result, _notifications| {
                    same("text", &result["content"][0]["text"], &text)
                })
            }
            Self::Progress => Expectation::new(judge_progress),
        })
    }

    /// The request that calls it.
    pub(super) fn request(self, speaker: &Speaker) -> PreparedRequest {
        let (arguments, meta) = match self {
            Self::Echo => (arguments(ECHO_MESSAGE), ""),
            Self::Upload => (arguments(&upload_message()), ""),
            Self::Blob => ("{}".to_owned(), ""),
            Self::Progress => (
                format!(r#"{{"n":{PROGRESS_STEPS}}}"#),
                r#""progressToken":{id}"#,
            ),
        };
        speaker.call(self.name(), &arguments, meta)
    }
}

const ECHO_MESSAGE: &str = "a lock gate lets ships pass between two levels of a canal";
/// Bytes of a large argument.
const UPLOAD_BYTES: usize = 20_000;

fn upload_message() -> String {
    ECHO_MESSAGE.chars().cycle().take(UPLOAD_BYTES).collect()
}

/// Arguments of `echo` in which `{id}` stands for the id of the call.
fn arguments(message: &str) -> String {
    format!(r#"{{"message":"{message}","n":{{id}}}}"#)
}

fn comes_back(message: String) -> Expectation {
    Expectation::new(move |id, result, _notifications| {
        let arguments = json!({ "message": message, "n": id });
        same(
            "arguments",
            &result["structuredContent"]["arguments"],
            &arguments,
        )
    })
}

fn same(what: &str, seen: &Value, expected: &Value) -> Result<(), String> {
    if seen == expected {
        return Ok(());
    }
    let mut seen = seen.to_string();
    seen.truncate(seen.floor_char_boundary(200));
    Err(format!("{what} came back as {seen}"))
}

fn judge_progress(id: u64, result: &Value, notifications: &[Value]) -> Result<(), String> {
    if notifications.len() != PROGRESS_STEPS {
        let n = notifications.len();
        return Err(format!("{n} notifications instead of {PROGRESS_STEPS}"));
    }
    for (step, notification) in (1..).zip(notifications) {
        let params = &notification["params"];
        same("progress token", &params["progressToken"], &json!(id))?;
        if params["progress"].as_f64() != Some(f64::from(step)) {
            return Err(format!("progress is not {step}: {params}"));
        }
    }
    let text = json!(format!("{PROGRESS_STEPS} steps"));
    same("text", &result["content"][0]["text"], &text)
}

/// Calls one tool.
#[derive(Debug)]
pub(super) struct CallJob {
    tool: Tool,
    request: PreparedRequest,
    expectation: Rc<Expectation>,
}

impl CallJob {
    /// A job of one connection.
    pub(super) fn new(tool: Tool, speaker: &Speaker, expectation: &Rc<Expectation>) -> Self {
        Self {
            tool,
            request: tool.request(speaker),
            expectation: Rc::clone(expectation),
        }
    }
}

impl Job for CallJob {
    fn label(&self) -> &str {
        self.tool.name()
    }

    fn request(&mut self, id: u64) -> &[u8] {
        self.request.for_call(id)
    }

    fn check(&mut self, id: u64, answer: Answer<'_>) -> Result<Step, String> {
        self.expectation.check(id, answer)?;
        Ok(Step::Done)
    }
}

/// Takes turns among jobs, each as often as its weight says.
pub(super) struct MixedJob {
    jobs: Vec<Box<dyn Job>>,
    order: Vec<usize>,
    at: usize,
}

impl MixedJob {
    /// Jobs with weights. `start` shifts the order, so that connections do not move in step.
    pub(super) fn new(jobs: Vec<(usize, Box<dyn Job>)>, start: usize) -> Self {
        let weights: Vec<usize> = jobs.iter().map(|(weight, _job)| *weight).collect();
        let order = interleave(&weights);
        Self {
            at: start % order.len().max(1),
            jobs: jobs.into_iter().map(|(_weight, job)| job).collect(),
            order,
        }
    }

    fn current(&self) -> usize {
        self.order.get(self.at).copied().unwrap_or_default()
    }
}

/// An order in which index `i` comes `weights[i]` times, spread evenly.
fn interleave(weights: &[usize]) -> Vec<usize> {
    let total: usize = weights.iter().sum();
    let mut places: Vec<(usize, usize)> = Vec::with_capacity(total);
    for (index, &weight) in weights.iter().enumerate() {
        places.extend((0..weight).map(|n| ((2 * n + 1) * total / weight, index)));
    }
    places.sort_unstable();
    places.into_iter().map(|(_place, index)| index).collect()
}

impl Job for MixedJob {
    fn label(&self) -> &str {
        self.jobs[self.current()].label()
    }

    fn request(&mut self, id: u64) -> &[u8] {
        let current = self.current();
        self.jobs[current].request(id)
    }

    fn check(&mut self, id: u64, answer: Answer<'_>) -> Result<Step, String> {
        let current = self.current();
        let step = self.jobs[current].check(id, answer)?;
        if step == Step::Done {
            self.at = (self.at + 1) % self.order.len();
        }
        Ok(step)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{PROGRESS_STEPS, interleave, judge_progress};

    #[test]
    fn a_mix_spreads_its_parts() {
        assert_eq!(interleave(&[2, 1]), [0, 1, 0]);
        let order = interleave(&[90, 5, 4, 1]);
        assert_eq!(order.len(), 100);
        assert_eq!(order.iter().filter(|&&index| index == 1).count(), 5);
    }

    #[test]
    fn progress_counts_from_one_with_our_token() {
        let step =
            |n: usize, token: u64| json!({"params": {"progressToken": token, "progress": n}});
        let result = json!({"content": [{"text": "10 steps"}]});
        let right: Vec<_> = (1..=PROGRESS_STEPS).map(|n| step(n, 7)).collect();
        assert_eq!(judge_progress(7, &result, &right), Ok(()));
        assert!(judge_progress(8, &result, &right).is_err());
        assert!(judge_progress(7, &result, &right[1..]).is_err());
        let doubled: Vec<_> = (0..PROGRESS_STEPS).map(|_| step(1, 7)).collect();
        assert!(judge_progress(7, &result, &doubled).is_err());
    }
}
