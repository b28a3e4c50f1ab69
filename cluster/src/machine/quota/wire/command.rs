//! Commands and answers as protobuf.

use lockgate_proto::peer::v1;
use lockgate_proto::peer::v1::quota_command::Command as WireCommand;
use lockgate_proto::peer::v1::quota_reply::Reply as WireReply;

use super::{key_from_wire, key_to_wire, limit_from_wire, rule_to_wire};
use crate::machine::quota::command::{Answer, Batch, Command, Reply, Report, UsageDelta, Want};

impl Command {
    /// The command as it stands in the log.
    pub(crate) fn to_wire(&self) -> v1::QuotaCommand {
        let command = match self {
            Self::Batch(batch) => WireCommand::Batch(batch_to_wire(batch)),
            Self::Expire { below } => WireCommand::Expire(v1::QuotaExpire { below: *below }),
            Self::SetLimits { version, limits } => {
                let rules = limits
                    .iter()
                    .map(|(rule, limit)| rule_to_wire(rule, *limit));
                WireCommand::SetLimits(v1::QuotaSetLimits {
                    version: *version,
                    rules: rules.collect(),
                })
            }
        };
        v1::QuotaCommand {
            command: Some(command),
        }
    }

    /// Reads what stands in the log. `None` when a newer version wrote it.
    pub(crate) fn from_wire(command: v1::QuotaCommand) -> Option<Self> {
        Some(match command.command? {
            WireCommand::Batch(batch) => Self::Batch(batch_from_wire(batch)?),
            WireCommand::Expire(expire) => Self::Expire {
                below: expire.below,
            },
            WireCommand::SetLimits(set) => {
                let rules = set.rules.into_iter();
                let limits =
                    rules.map(|rule| Some((rule.rule.into(), limit_from_wire(rule.limit)?)));
                Self::SetLimits {
                    version: set.version,
                    limits: limits.collect::<Option<_>>()?,
                }
            }
        })
    }
}

impl Reply {
    /// The answer as it is passed between nodes.
    pub(crate) fn to_wire(&self) -> v1::QuotaReply {
        let reply = match self {
            Self::Done => WireReply::Done(v1::QuotaDone {}),
            Self::Stale => WireReply::Stale(v1::QuotaStale {}),
            Self::Answers(answers) => {
                let answers = answers.iter().map(|answer| v1::QuotaAnswer {
                    lease: answer.lease,
                    tokens: answer.tokens,
                    wait_us: answer.wait_us,
                });
                WireReply::Answers(v1::QuotaAnswers {
                    answers: answers.collect(),
                })
            }
        };
        v1::QuotaReply { reply: Some(reply) }
    }

    /// Reads an answer. `None` when a newer version wrote it.
    pub(crate) fn from_wire(reply: v1::QuotaReply) -> Option<Self> {
        Some(match reply.reply? {
            WireReply::Done(v1::QuotaDone {}) => Self::Done,
            WireReply::Stale(v1::QuotaStale {}) => Self::Stale,
            WireReply::Answers(answers) => {
                let answers = answers.answers.into_iter().map(|answer| Answer {
                    lease: answer.lease,
                    tokens: answer.tokens,
                    wait_us: answer.wait_us,
                });
                Self::Answers(answers.collect())
            }
        })
    }
}

fn batch_to_wire(batch: &Batch) -> v1::QuotaBatch {
    let reports = batch.reports.iter().map(|report| v1::QuotaReport {
        lease: report.lease,
        used: report.used,
        done: report.done,
    });
    let wants = batch.wants.iter().map(|want| v1::QuotaWant {
        key: Some(key_to_wire(&want.key)),
        tokens: want.tokens,
        need: want.need,
    });
    let usage = batch.usage.iter().map(|delta| v1::QuotaUsage {
        tenant: delta.tenant.to_string(),
        principal: delta.principal.to_string(),
        server: delta.server.to_string(),
        tool: delta.tool.to_string(),
        requests: delta.requests,
        limited: delta.limited,
        cost_micros: delta.cost_micros,
    });
    v1::QuotaBatch {
        node: batch.node,
        boot: batch.boot,
        seq: batch.seq,
        reports: reports.collect(),
        abandoned: batch.abandoned.clone(),
        wants: wants.collect(),
        usage_seq: batch.usage_seq,
        usage: usage.collect(),
    }
}

fn batch_from_wire(batch: v1::QuotaBatch) -> Option<Batch> {
    let reports = batch.reports.into_iter().map(|report| Report {
        lease: report.lease,
        used: report.used,
        done: report.done,
    });
    let wants = batch.wants.into_iter().map(|want| {
        Some(Want {
            key: key_from_wire(want.key)?,
            tokens: want.tokens,
            need: want.need,
        })
    });
    let usage = batch.usage.into_iter().map(|delta| UsageDelta {
        tenant: delta.tenant.into(),
        principal: delta.principal.into(),
        server: delta.server.into(),
        tool: delta.tool.into(),
        requests: delta.requests,
        limited: delta.limited,
        cost_micros: delta.cost_micros,
    });
    Some(Batch {
        node: batch.node,
        boot: batch.boot,
        seq: batch.seq,
        reports: reports.collect(),
        abandoned: batch.abandoned,
        wants: wants.collect::<Option<_>>()?,
        usage_seq: batch.usage_seq,
        usage: usage.collect(),
    })
}
