//! Uploads and downloads of files, which can be large.

use std::fs::File;
use std::io::{Seek as _, Write};

use serde::de::DeserializeOwned;
use ureq::http::Method;

use crate::{Client, CommandResult};
use documents::MAX_ARTIFACTS_BYTES;

impl Client {
    /// Fetches bytes of an announced size into memory.
    ///
    /// # Errors
    /// Returns the boundary's refusal, or an error if the boundary cannot be reached or the answer is longer.
    pub fn announced(&self, path: &str, size: u64) -> CommandResult<Vec<u8>> {
        let mut bytes =
            Vec::with_capacity(usize::try_from(size.min(MAX_ARTIFACTS_BYTES)).unwrap_or_default());
        self.copy(path, size, &mut bytes)?;
        Ok(bytes)
    }

    /// Copies bytes of an announced size to a file or another sink, while they arrive.
    ///
    /// # Errors
    /// Returns the boundary's refusal, or an error if the boundary cannot be reached, the answer is longer, or the bytes can't
    /// be written.
    pub fn copy(&self, path: &str, size: u64, to: &mut impl Write) -> CommandResult<()> {
        let response = self.request(Method::GET, path, None::<&()>, "*/*")?;
        // The reader fails if a body has as many bytes as its limit.
        let mut reader = response
            .into_body()
            .into_with_config()
            .limit(size + 1)
            .reader();
        std::io::copy(&mut reader, to)
            .map(drop)
            .map_err(|error| self.odd(format!("{size} bytes of {path} can't be copied: {error}")))
    }

    /// Uploads a file, and reads the answer.
    ///
    /// # Errors
    /// Returns the boundary's refusal, or an error if the boundary cannot be reached.
    pub fn put_file<T: DeserializeOwned>(&self, path: &str, file: File) -> CommandResult<T> {
        self.address.check_private("the file")?;
        // A server that refuses an upload without credentials ends the connection while the file is sent.
        if self.bearer.borrow().is_none() {
            self.admit_again()?;
        }
        let response = self.again_when_admission_ended(false, || {
            let request = self
                .begin(&Method::PUT, path)
                .header("content-type", "application/octet-stream");
            let mut file = file.try_clone().map_err(|error| self.odd(error))?;
            file.rewind().map_err(|error| self.odd(error))?;
            self.run(self.complete(request, file)?)
        })?;
        self.typed(response)
    }
}
