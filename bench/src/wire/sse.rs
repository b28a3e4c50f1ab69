//! Server-sent events of a body that was read whole. Not the gateway's own decoder: a fault of that
//! must not be able to hide itself from the measurement.

/// Payloads of the events in `body`, in order. Lines of one event's data are joined by a newline.
pub(crate) fn messages(body: &str) -> Vec<String> {
    let mut messages = Vec::new();
    let mut data: Option<String> = None;
    for line in body.lines().chain([""]) {
        if line.is_empty() {
            messages.extend(data.take().filter(|data| !data.is_empty()));
        } else if let Some(value) = line.strip_prefix("data:") {
            let value = value.strip_prefix(' ').unwrap_or(value);
            match &mut data {
                None => data = Some(value.to_owned()),
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
            }
        }
    }
    messages
}

#[cfg(test)]
mod tests {
    use super::messages;

    #[test]
    fn events_end_with_an_empty_line() {
        let body = "id: 1\ndata:\n\n: alive\n\nevent: message\ndata: a\ndata: b\r\n\r\ndata:c\n\n";
        assert_eq!(messages(body), ["a\nb", "c"]);
    }

    #[test]
    fn a_last_event_may_lack_its_empty_line() {
        assert_eq!(messages("data: a"), ["a"]);
    }
}
