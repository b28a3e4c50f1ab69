//! HTTP/1.1 as a load generator needs it: requests prepared once, answers read from one buffer.

mod endpoint;
mod request;
mod response;
mod sse;

pub(crate) use self::{
    endpoint::Endpoint,
    request::{ID_FIRST, PreparedRequest, write_id},
    response::{Answer, AnswerReader, ReadError},
    sse::messages,
};
