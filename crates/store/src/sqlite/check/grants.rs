//! Check of standing grants and of their uses.

use crate::{Look, StoreFault, column_values::place, opened};
use documents::{ContentDigest, Grant, Spent, Timestamp, hex};

impl Look<'_> {
    /// Checks that a grant of the log has its row.
    pub(super) fn grant(&mut self, index: u64) -> Result<(), StoreFault> {
        if self
            .one(
                "SELECT 1 FROM standing WHERE leaf = ?1",
                [index],
                |_| Ok(()),
            )?
            .is_none()
        {
            self.defect(
                format!("log entry {index}"),
                "the table standing has no row for this grant",
            );
        }
        Ok(())
    }

    /// Checks that a use of a grant has its row.
    pub(super) fn grant_use(
        &mut self,
        index: u64,
        item: u32,
        at: Timestamp,
        spent: &Spent,
    ) -> Result<(), StoreFault> {
        let (Some(grant), Some(number)) = (&spent.grant, &spent.grant_use) else {
            return Ok(());
        };
        self.uses += 1;
        let sql = "SELECT 1 FROM standing_use WHERE digest = ?1 AND number = ?2 AND at = ?3 AND spent = ?4";
        let values = rusqlite::params![grant.as_bytes(), number.0, at.unix(), place(index, item)];
        if self.one(sql, values, |_| Ok(()))?.is_none() {
            let what = format!(
                "the table standing_use has no row for use {} of a grant",
                number.0
            );
            self.defect(format!("log entry {index}, item {item}"), what);
        }
        Ok(())
    }

    /// Checks the rows of grants against their documents, and the number of uses.
    pub(super) fn grants(&mut self) -> Result<(), StoreFault> {
        let sql =
            "SELECT id, digest, envelope, proposer, created_at, expires_at, leaf FROM standing";
        let rows = self.all(sql, [], |row| Ok((row.get::<Vec<u8>>(0)?, row.grant())))?;
        self.counts.push(("grants", rows.len() as u64));
        for (id, row) in rows {
            let place = format!("table standing, row {}", hex(&id));
            let Ok(row) = row else {
                let what = "the row has a value that this program does not write";
                self.defect(place, what);
                continue;
            };
            let of_row = (row.digest, row.id, row.proposer, row.expires_at);
            let said = opened::<Grant>(&row.envelope).map(|(payload, statement)| {
                let terms = statement.predicate;
                let digest = ContentDigest::of(&payload);
                (digest, terms.grant, terms.proposer, terms.expires_at)
            });
            if said.ok() != Some(of_row) {
                self.defect(&place, "the row differs from the grant in it");
            }
            if let Some(index) = row.leaf
                && self.entry_at(index)?.as_deref() != Some(&row.envelope[..])
            {
                let what = format!("log entry {index} is another document");
                self.defect(&place, what);
            }
        }
        self.count(
            "standing_use",
            self.uses,
            "the number of uses in the log is",
        )
    }
}
