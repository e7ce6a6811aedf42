//! Large outputs and uploaded files as pieces of 1 MiB, and cosignatures as rows.

use std::{
    collections::VecDeque,
    io,
    ops::Range,
    sync::{Arc, Mutex},
};

use crate::{
    Cosignature, Fields, Link, PIECE, Pool, ServerSettings, TakeBytes, Value,
    backend::CopyBytes,
    crash_points,
    postgres::{link::StatementValues, statements::signed},
};
use documents::{Blake3Digest, Blake3Stream, ContentDigest, Name, Timestamp, locked};

const DURING: &str = "reading or writing a large output, an uploaded file or a cosignature";
const OPTIONS: &str = "-c lock_timeout=20000 -c statement_timeout=30000 -c synchronous_commit=on -c client_encoding=UTF8 \
    -c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c enable_bitmapscan=off -c jit=off";
/// Maximum number of connections.
const LINKS: usize = 2;
/// Size of a chunk in bytes. After an output was compared with its name, a digest of each of its chunks stays in memory.
const CHUNK: usize = 256 << 10;
const CHUNKS: u64 = (PIECE / CHUNK) as u64;
/// Maximum number of outputs whose digests are in memory.
const VERIFIED: usize = 64;

/// A second write repairs a piece that somebody changed.
const KEEP: &str = "INSERT INTO piece (name, number, data) VALUES ($1, $2, $3) \
    ON CONFLICT (name, number) DO UPDATE SET data = excluded.data, at = excluded.at";
const GET: &str = "SELECT data FROM piece WHERE name = $1 AND number = $2";
const GET_CHUNK: &str = "SELECT substring(data from $3::integer for $4::integer) FROM piece WHERE name = $1 AND number = $2";
const UPLOADED: &str =
    "SELECT count(*), coalesce(sum(bytes), 0)::bigint FROM artifact WHERE proposer = $1";
const UPLOAD_SIZE: &str = "SELECT bytes FROM artifact WHERE proposer = $1 AND digest = $2";
const ADD_UPLOAD: &str = "INSERT INTO artifact (proposer, digest, bytes) VALUES ($1, $2, $3) \
    ON CONFLICT (proposer, digest) DO UPDATE SET at = excluded.at";
const RETIRE_UPLOADS: &str = "DELETE FROM artifact WHERE at < to_timestamp($1::bigint) RETURNING 1";
const COSIGNATURES: &str = "SELECT size, witness, note, lines FROM cosignature ORDER BY size";
const KEEP_COSIGNATURE: &str = "INSERT INTO cosignature (size, witness, note, lines) VALUES ($1, $2, $3, $4) \
    ON CONFLICT (size, witness) DO UPDATE SET note = excluded.note, lines = excluded.lines";
const OLD_COSIGNATURES: &str = "DELETE FROM cosignature WHERE size < $1";

/// The objects of a boundary. A boundary whose database is a file of this host stores these objects as files, without
/// this type.
///
/// Every method returns an error if the database cannot be read or written. The kind of the error is
/// [`StorageFull`](io::ErrorKind::StorageFull) or [`NotConnected`](io::ErrorKind::NotConnected) if a later attempt can
/// succeed.
pub struct Objects {
    pool: Pool,
    /// The digests of the chunks of each output that was compared with its name.
    verified: Mutex<VecDeque<(Blake3Digest, Arc<[Blake3Digest]>)>>,
}

impl Objects {
    /// Connects when the first object is read or written.
    pub fn new(settings: ServerSettings) -> Self {
        Self {
            pool: Pool::new(settings, OPTIONS, LINKS),
            verified: Mutex::default(),
        }
    }

    /// Returns what `read` returns for the first row.
    fn one<T>(
        &self,
        sql: &str,
        values: impl Fn() -> Vec<Value<'static>>,
        read: impl Fn(&Fields<'_>) -> io::Result<T>,
    ) -> io::Result<Option<T>> {
        let rows = self.pool.with(|link| link.query(DURING, sql, values()))?;
        rows.first()
            .map(|row| read(&Fields::new(DURING, row)))
            .transpose()
    }

    /// Passes the pieces of an object to `to`.
    fn pieces(&self, name: &[u8; 32], to: TakeBytes<'_>) -> io::Result<()> {
        for number in 0_i32.. {
            let name = name.to_vec();
            let piece: Option<Vec<u8>> =
                self.one(GET, || values![name.clone(), number], |row| Ok(row.get(0)?))?;
            let Some(piece) = piece else { break };
            to(&piece)?;
        }
        Ok(())
    }

    /// Returns the digests of the chunks of an output, after the whole output was compared with its name.
    fn chunks(&self, name: &Blake3Digest) -> io::Result<Arc<[Blake3Digest]>> {
        if let Some((_, chunks)) = locked(&self.verified)
            .iter()
            .find(|(known, _)| known == name)
        {
            return Ok(Arc::clone(chunks));
        }
        let (mut whole, mut chunks) = (Blake3Stream::default(), Vec::new());
        self.pieces(name.as_bytes(), &mut |piece| {
            whole.update(piece);
            chunks.extend(piece.chunks(CHUNK).map(Blake3Digest::of));
            Ok(())
        })?;
        if whole.finish() != *name {
            return Err(changed(name));
        }
        let chunks: Arc<[Blake3Digest]> = chunks.into();
        let mut verified = locked(&self.verified);
        verified.push_back((*name, Arc::clone(&chunks)));
        if verified.len() > VERIFIED {
            verified.pop_front();
        }
        Ok(chunks)
    }
}

fn changed(name: &Blake3Digest) -> io::Error {
    io::Error::other(format!(
        "the pieces of the output {name} in the database are missing or do not match its name; `countersign store check` \
         lists all such outputs"
    ))
}

/// Executes each statement in a transaction of its own. A warning means that a commit can be lost.
fn commit(link: &Link, flight: &[StatementValues<'_>]) -> io::Result<()> {
    link.take_warnings();
    link.rows(DURING, flight)?;
    Ok(link.confirm(DURING)?)
}

impl Objects {
    /// Makes an object durable. Retention deletes an object that nothing refers to, an hour after its last write.
    pub fn keep(&self, name: &[u8; 32], copy: CopyBytes<'_>) -> io::Result<()> {
        self.pool.with(|link| {
            let (mut number, mut piece) = (0_i32, Vec::with_capacity(PIECE));
            let mut write = |piece: &[u8]| {
                commit(link, &[(KEEP, values![&name[..], number, piece])])?;
                number += 1;
                crash_points::point("piece-written");
                Ok::<_, io::Error>(())
            };
            copy(&mut |mut bytes| {
                while !bytes.is_empty() {
                    let (now, later) = bytes.split_at(bytes.len().min(PIECE - piece.len()));
                    piece.extend_from_slice(now);
                    bytes = later;
                    if piece.len() == PIECE {
                        write(&piece)?;
                        piece.clear();
                    }
                }
                Ok(())
            })?;
            if piece.is_empty() {
                Ok(())
            } else {
                write(&piece)
            }
        })
    }

    /// Returns the bytes of an output in `range`, which must not end after the output.
    ///
    /// # Errors
    /// Returns an error if the bytes of the whole output do not match its name.
    pub fn output(&self, name: &Blake3Digest, range: Range<u64>) -> io::Result<Vec<u8>> {
        let chunks = self.chunks(name)?;
        let mut bytes = Vec::new();
        for at in range.start / CHUNK as u64..range.end.div_ceil(CHUNK as u64) {
            let piece = i32::try_from(at / CHUNKS).map_err(io::Error::other)?;
            let first = at % CHUNKS * CHUNK as u64 + 1;
            let values = || values![name.as_bytes().to_vec(), piece, first as i32, CHUNK as i32];
            let chunk: Option<Vec<u8>> = self.one(GET_CHUNK, values, |row| Ok(row.get(0)?))?;
            let digest = usize::try_from(at).ok().and_then(|at| chunks.get(at));
            let chunk = chunk
                .filter(|chunk| Some(&Blake3Digest::of(chunk)) == digest)
                .ok_or_else(|| changed(name))?;
            let within =
                |place: u64| (place.saturating_sub(at * CHUNK as u64) as usize).min(chunk.len());
            bytes.extend_from_slice(&chunk[within(range.start)..within(range.end)]);
        }
        Ok(bytes)
    }

    /// Returns the number of uploaded files of a proposer, and the number of their bytes.
    pub fn uploaded(&self, proposer: &Name) -> io::Result<(usize, u64)> {
        let values = || values![proposer.to_string()];
        let found = self.one(UPLOADED, values, |row| Ok(row.pair::<u64, _>()?))?;
        Ok(found
            .map(|(files, bytes)| (usize::try_from(files).unwrap_or(usize::MAX), bytes))
            .unwrap_or_default())
    }

    /// Returns the size of an uploaded file of a proposer, or `None` if the file is not stored.
    pub fn upload_size(&self, proposer: &Name, digest: &ContentDigest) -> io::Result<Option<u64>> {
        let values = || values![proposer.to_string(), digest.as_bytes().to_vec()];
        self.one(UPLOAD_SIZE, values, |row| Ok(row.get(0)?))
    }

    /// Notes that the proposer uploaded an object now.
    pub fn add_upload(
        &self,
        proposer: &Name,
        digest: &ContentDigest,
        bytes: u64,
    ) -> io::Result<()> {
        let values = values![proposer.as_str(), &digest.as_bytes()[..], signed(bytes)];
        let flight = [(ADD_UPLOAD, values)];
        self.pool.with(|link| commit(link, &flight))
    }

    /// Passes the bytes of an uploaded file to `to`. The caller must compare their digest.
    pub fn copy_upload(&self, digest: &ContentDigest, to: TakeBytes<'_>) -> io::Result<()> {
        self.pieces(digest.as_bytes(), to)
    }

    /// Deletes the notes about uploads before this time. Returns the number of deleted notes.
    pub fn retire_uploads(&self, before: Timestamp) -> io::Result<usize> {
        Ok(self
            .pool
            .with(|link| link.query(DURING, RETIRE_UPLOADS, values![before.unix()]))?
            .len())
    }

    /// Returns the stored cosignatures, which the caller must verify.
    pub fn cosignatures(&self) -> io::Result<Vec<Cosignature>> {
        let rows = self
            .pool
            .with(|link| link.query(DURING, COSIGNATURES, values![]))?;
        let read = |row: &tokio_postgres::Row| {
            let row = Fields::new(DURING, row);
            Ok(Cosignature {
                size: row.get(0)?,
                witness: row.get(1)?,
                note: row.get(2)?,
                lines: row.get(3)?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// Stores a cosignature, and deletes the cosignatures of checkpoints with fewer entries than `oldest`.
    pub fn keep_cosignature(&self, cosignature: &Cosignature, oldest: u64) -> io::Result<()> {
        let Cosignature {
            size,
            witness,
            note,
            lines,
        } = cosignature;
        let flight = [
            (
                KEEP_COSIGNATURE,
                values![signed(*size), witness, note, lines],
            ),
            (OLD_COSIGNATURES, values![signed(oldest)]),
        ];
        self.pool.with(|link| commit(link, &flight))
    }
}
