//! Check of standing grants and of their uses.

use crate::{
    column_values::{grant_id, place},
    fault::StoreFault,
    sqlite::check::Look,
    store_report::RESTORE,
    stored_leaf::opened,
};
use documents::{Grant, Spent, Timestamp, hex};

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
                RESTORE,
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
            self.defect(format!("log entry {index}, item {item}"), what, RESTORE);
        }
        Ok(())
    }

    /// Checks the rows of grants against their documents, and the number of uses.
    pub(super) fn grants(&mut self) -> Result<(), StoreFault> {
        // A store of an earlier version has no grants.
        if self.number("PRAGMA user_version")? < 5 {
            return Ok(());
        }
        type Row = ([u8; 16], [u8; 32], Vec<u8>, String, i64, Option<u64>);
        let sql = "SELECT id, digest, envelope, proposer, expires_at, leaf FROM standing";
        let rows: Vec<Row> = self.all(sql, [], |row| {
            Ok((
                row.get(0)?,
                row.get(1)?,
                row.get(2)?,
                row.get(3)?,
                row.get(4)?,
                row.get(5)?,
            ))
        })?;
        self.counts.push(("grants", rows.len() as u64));
        for (id, digest, envelope, proposer, expires_at, leaf) in rows {
            let place = format!("table standing, row {}", hex(&id));
            let same = opened::<Grant>(&envelope).is_ok_and(|(payload, statement)| {
                let terms = statement.predicate;
                documents::sha256(&payload) == digest
                    && Some(terms.grant) == grant_id(id)
                    && terms.proposer.as_str() == proposer
                    && terms.expires_at.unix() == expires_at
            });
            if !same {
                self.defect(&place, "the row differs from the grant in it", RESTORE);
            }
            if let Some(index) = leaf {
                let data = self.entry_at(index)?;
                if data.as_deref() != Some(&envelope[..]) {
                    self.defect(
                        &place,
                        format!("log entry {index} is another document"),
                        RESTORE,
                    );
                }
            }
        }
        let there = self.number("SELECT count(*) FROM standing_use")?;
        if there != self.uses {
            let what = format!(
                "the table has {there} rows, but the log has {} uses of grants",
                self.uses
            );
            self.defect("table standing_use", what, RESTORE);
        }
        Ok(())
    }
}
