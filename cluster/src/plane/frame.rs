//! Messages in a stream: four bytes of length, big-endian, then the message.

use std::io;

use bytes::{BufMut, BytesMut};
use prost::Message;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Largest message, in bytes. Files travel beside messages, not in them.
pub(super) const MESSAGE_BYTES_MAX: usize = 64 << 10;
const LENGTH_BYTES: usize = 4;

/// Writes one message.
pub(super) async fn write<M: Message>(
    stream: &mut (impl AsyncWrite + Unpin),
    message: &M,
) -> io::Result<()> {
    let length = message.encoded_len();
    let prefix = u32::try_from(length)
        .ok()
        .filter(|_| length <= MESSAGE_BYTES_MAX)
        .ok_or_else(|| too_large(length))?;
    let mut frame = BytesMut::with_capacity(LENGTH_BYTES + length);
    frame.put_u32(prefix);
    // The buffer grows as needed, so encoding into it can't run out of room.
    message.encode(&mut frame).map_err(io::Error::other)?;
    stream.write_all(&frame).await
}

/// Reads one message. An early end is [`io::ErrorKind::UnexpectedEof`].
pub(super) async fn read<M: Message + Default>(
    stream: &mut (impl AsyncRead + Unpin),
) -> io::Result<M> {
    let length = stream.read_u32().await?;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    // Before any of it is taken into memory.
    if length > MESSAGE_BYTES_MAX {
        return Err(too_large(length));
    }
    let mut frame = BytesMut::zeroed(length);
    stream.read_exact(&mut frame).await?;
    M::decode(frame.freeze()).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

fn too_large(length: usize) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("message of {length} bytes, {MESSAGE_BYTES_MAX} are allowed"),
    )
}

#[cfg(test)]
mod tests {
    use lockgate_proto::peer::v1 as pb;

    use super::*;

    fn end(bytes: usize) -> pb::FetchEnd {
        pb::FetchEnd {
            sha256: vec![7; bytes].into(),
        }
    }

    #[tokio::test]
    async fn messages_come_out_as_they_went_in() {
        let mut stream = Vec::new();
        for bytes in [0, 1, 32, MESSAGE_BYTES_MAX - 8] {
            write(&mut stream, &end(bytes)).await.unwrap();
        }
        let mut stream = stream.as_slice();
        for bytes in [0, 1, 32, MESSAGE_BYTES_MAX - 8] {
            assert_eq!(read::<pb::FetchEnd>(&mut stream).await.unwrap(), end(bytes));
        }
        let over = read::<pb::FetchEnd>(&mut stream).await.unwrap_err();
        assert_eq!(over.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn a_torn_message_is_an_early_end_at_every_byte() {
        let mut stream = Vec::new();
        write(&mut stream, &end(32)).await.unwrap();
        for cut in 0..stream.len() {
            let error = read::<pb::FetchEnd>(&mut &stream[..cut]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "cut at {cut}");
        }
    }

    #[tokio::test]
    async fn a_message_beyond_the_limit_is_neither_written_nor_read() {
        let mut stream = Vec::new();
        assert!(write(&mut stream, &end(MESSAGE_BYTES_MAX)).await.is_err());
        assert!(stream.is_empty());
        for length in [MESSAGE_BYTES_MAX as u32 + 1, u32::MAX] {
            let error = read::<pb::FetchEnd>(&mut length.to_be_bytes().as_slice()).await;
            assert_eq!(error.unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
    }
}
