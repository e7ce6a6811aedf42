//! Uses of a standing grant, emergencies and reviews on one machine.

use crate::machine::{Machine, Message, State};
use crate::names::{ConsumeStop, Status};
use crate::promises::{MOST_RUNS, MOST_USES, Promise};
use crate::rules::{Rules, Scene};

/// Maximum number of emergencies whose review is open.
const MOST_OPEN: u32 = 1;
/// The people who must review a run, as bits.
const REVIEWERS: u8 = 0b11;

/// What the database contains about the grant and the reviews. Sets of runs are bits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Standing {
    pub(super) granted: bool,
    /// The rows of uses, and the uses whose consumptions are in the log.
    uses: u8,
    logged: u8,
    /// The rows of runs that need a review: open emergencies, and unsettled uses.
    owed: u8,
    /// The runs whose entries in the log need reviews.
    begun: u8,
    /// The people who reviewed each run.
    reviewed: [u8; MOST_RUNS],
}

/// The numbers on which the next use and the next emergency depend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Counted {
    uses: u8,
    /// The open emergencies, or the unsettled uses.
    owed: u8,
}

impl Standing {
    /// Returns the emergencies whose review is open.
    pub(super) fn emergencies(&self, model: &Machine) -> u8 {
        if model.scene == Scene::Emergencies { self.owed } else { 0 }
    }

    pub(super) const fn is_exhausted(&self) -> bool {
        self.logged >= MOST_USES
    }

    pub(super) const fn needs_no_review(&self) -> bool {
        self.owed == 0
    }

    /// Returns the runs that need a review, by the entries of the log.
    fn owed_by_log(&self) -> u8 {
        (0..MOST_RUNS).filter(|run| self.reviewed[*run] != REVIEWERS).map(|run| self.begun & 1 << run).sum()
    }
}

impl State {
    /// Returns true if the verdict finds the grant of the run.
    pub(super) fn has_grant(&self, model: &Machine) -> bool {
        model.scene != Scene::Uses || self.disk.standing.granted || !model.rules.use_after_entry
    }

    fn count(&self, model: &Machine) -> Counted {
        let standing = &self.disk.standing;
        let owed = if model.scene == Scene::Uses { standing.owed } else { self.emergencies };
        Counted { uses: standing.uses + self.rowless, owed }
    }

    /// Returns what a weakened verdict counts before the consume transaction.
    pub(super) fn count_early(&self, model: &Machine) -> Counted {
        let late = model.rules.use_in_transaction && model.rules.open_in_transaction;
        if late { Counted::default() } else { self.count(model) }
    }

    /// Returns what the first reads of a batch count.
    pub(super) fn begin_batch(&mut self, model: &Machine) -> Counted {
        self.disk.standing.uses += std::mem::take(&mut self.rowless);
        self.count(model)
    }

    /// Returns what counts for the next consumption of the batch. `early` is from the verdict, `first` from the first reads.
    pub(super) fn count_again(&self, model: &Machine, early: Counted, first: Counted) -> Counted {
        let (rules, now) = (&model.rules, self.count(model));
        let owed = match model.scene {
            Scene::Uses if rules.receipt_pauses_batch => first.owed | now.owed,
            Scene::Uses => first.owed,
            _ if !rules.open_in_transaction => early.owed,
            _ if !rules.batch_counts_open => first.owed,
            _ => now.owed,
        };
        let uses = if rules.batch_counts_uses { now.uses } else { first.uses };
        Counted { uses: if rules.use_in_transaction { uses } else { early.uses }, owed }
    }

    /// Returns the reasons to refuse a use or an emergency, in the order of the program.
    pub(super) fn stops_of_people(&self, model: &Machine, counted: Counted) -> [(bool, ConsumeStop); 3] {
        let (rules, uses) = (&model.rules, model.scene == Scene::Uses);
        let full = counted.owed.count_ones() >= MOST_OPEN;
        [
            (model.scene == Scene::Emergencies && full, ConsumeStop::Unreviewed),
            (uses && rules.unsettled_pauses && counted.owed != 0, ConsumeStop::GrantPaused),
            (uses && rules.uses_limited && counted.uses >= MOST_USES, ConsumeStop::GrantExhausted),
        ]
    }

    /// Notes the use or the emergency of a consumption.
    pub(super) fn claim(&mut self, model: &Machine, run: usize, counted: Counted) {
        let (standing, history, rules) = (&mut self.disk.standing, &mut self.history, &model.rules);
        let owed = standing.owed_by_log();
        if model.scene == Scene::Uses {
            standing.logged += 1;
            let follows = counted.uses + 1 == standing.logged && standing.logged <= MOST_USES;
            history.demand(Promise::GrantFirst, standing.granted);
            history.demand(Promise::UsesCounted, follows);
            history.demand(Promise::NotWhilePaused, owed == 0);
            *(if rules.use_with_nonce { &mut standing.uses } else { &mut self.rowless }) += 1;
        }
        if model.scene == Scene::Emergencies {
            history.demand(Promise::FewOpen, owed.count_ones() < MOST_OPEN);
            standing.begun |= 1 << run;
            if rules.open_from_consumption {
                standing.owed |= 1 << run;
                self.emergencies |= 1 << run;
            }
        }
    }

    /// Notes the review that a run needs after its receipt.
    pub(super) fn owe_review(&mut self, model: &Machine, run: usize, unknown: bool) {
        let standing = &mut self.disk.standing;
        if model.scene == Scene::Uses && unknown {
            standing.begun |= 1 << run;
            standing.owed |= 1 << run;
        }
        if model.scene == Scene::Emergencies && !model.rules.open_from_consumption {
            standing.owed |= 1 << run;
            self.emergencies |= 1 << run;
        }
    }

    /// Returns the reviews that can arrive now. Each person can review a run that has a receipt and needs a review.
    pub(super) fn reviews(&self, model: &Machine) -> Vec<Message> {
        let (standing, version) = (&self.disk.standing, self.disk.version);
        let frozen = self.is_frozen() && !model.rules.frozen_takes_reviews;
        let waits = |run: usize| !frozen && standing.owed >> run & 1 == 1 && self.disk.status[run] == Status::Finished;
        let mut out = Vec::new();
        for run in (0..model.runs).filter(|run| waits(*run)) {
            let queued = self.queue.iter().filter_map(|message| match message {
                Message::Review { run: other, person, .. } if *other == run => Some(*person),
                _ => None,
            });
            let known = queued.sum::<u8>() | standing.reviewed[run];
            // Nothing distinguishes the people, so the first one comes first.
            if let Some(person) = [1, 2].into_iter().find(|person| known & person == 0) {
                let ends = standing.reviewed[run] | person == REVIEWERS;
                out.push(Message::Review { run, person, version, ends });
            }
        }
        out
    }

    /// Logs a review. The caller has decided whether the reviews are enough.
    pub(super) fn review(&mut self, rules: &Rules, run: usize, person: u8, ends: bool) {
        let standing = &mut self.disk.standing;
        standing.reviewed[run] |= person;
        if ends && rules.reviews_end {
            standing.owed &= !(1 << run);
            self.emergencies &= !(1 << run);
        }
        self.disk.version += 1;
        self.history.demand(Promise::ReviewsDecide, self.disk.standing.owed == self.disk.standing.owed_by_log());
    }
}
