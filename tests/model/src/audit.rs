//! The log of a dishonest boundary, and its audit. The audit keeps a used nonce only until its end.

use stateright::{Model, Property};

use crate::actions;
use crate::checking::{Story, property};
use crate::promises::{History, Promise};
use crate::rules::Rules;

/// The model. The nonce `n` carries the end `n`. The log can have any number of entries: a state has only what the
/// audit keeps, and which nonces were used without a finding.
#[derive(Clone)]
pub struct Audit {
    pub rules: Rules,
    pub nonces: u8,
    pub only: Option<Promise>,
}

/// Sets of nonces are bits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct State {
    /// The latest time of the entries that the audit has read.
    at: u8,
    /// The used nonces that the audit keeps.
    used: u8,
    /// The nonces of which the log has a use without a finding.
    passed: u8,
    /// The audit found a time that is before an earlier one. The model ends here, because the log has a finding.
    ended: bool,
    history: History,
}

actions! {
    expected {
        Forget(nonce: u8) => "the audit drops the nonce that ends at {nonce}";
        Resume => "the audit stores its state, and goes on from it later";
    }
    faults {
        Spend(nonce: u8, expires_at: u8, at: u8) =>
            "the log gets a consumption at {at}: the nonce ends at {nonce}, and expires_at is {expires_at}";
        Other(at: u8) => "the log gets another entry at {at}";
    }
}

impl Audit {
    /// The last time of the model, at which all nonces are at their end.
    const fn last(&self) -> u8 {
        self.nonces + 1
    }
}

impl State {
    /// Reads the time of an entry. Returns false if it is before an earlier one.
    fn time(&mut self, rules: &Rules, at: u8) -> bool {
        self.ended = rules.audit_compares_times && at < self.at;
        self.at = self.at.max(at);
        !self.ended
    }

    /// Reads a consumption with one item.
    fn spend(&mut self, rules: &Rules, nonce: u8, expires_at: u8, at: u8) {
        // A malformed document is a finding, and the audit reads nothing of it, not even its time.
        if rules.audit_compares_expiry && expires_at != nonce || !self.time(rules, at) {
            return;
        }
        let after_end = rules.audit_compares_end && at >= expires_at;
        let twice = self.used >> nonce & 1 == 1;
        if !after_end && !twice {
            let first = self.passed >> nonce & 1 == 0;
            self.history.demand(Promise::SecondUseFound, first);
            self.used |= 1 << nonce;
            self.passed |= 1 << nonce;
        }
    }
}

impl Model for Audit {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let history = History::new(self.only);
        vec![State {
            history,
            ..State::default()
        }]
    }

    fn actions(&self, s: &State, out: &mut Vec<Action>) {
        if s.ended {
            return;
        }
        // The audit can drop a nonce at its end or at any later time.
        let over = |nonce: &u8| *nonce <= s.at || !self.rules.audit_keeps_used;
        let kept = (1..=self.nonces).filter(|nonce| s.used >> nonce & 1 == 1);
        out.extend(kept.filter(over).map(Action::Forget));
        out.push(Action::Resume);
        for at in 0..=self.last() {
            out.push(Action::Other(at));
            for nonce in 1..=self.nonces {
                let ends = 1..=self.last();
                out.extend(ends.map(|expires_at| Action::Spend(nonce, expires_at, at)));
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let (mut s, rules) = (last.clone(), &self.rules);
        match action {
            Action::Forget(nonce) => s.used &= !(1 << nonce),
            Action::Resume => {
                s.used &= if rules.audit_saves_used { u8::MAX } else { 0 };
                s.at = if rules.audit_saves_time { s.at } else { 0 };
            }
            Action::Spend(nonce, expires_at, at) => s.spend(rules, nonce, expires_at, at),
            Action::Other(at) => {
                s.time(rules, at);
            }
        }
        Some(s)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        property()
    }
}

impl Story for Audit {
    fn history(state: &State) -> &History {
        &state.history
    }

    /// An audit can end after each entry.
    fn is_finished(&self, _: &State) -> bool {
        true
    }
}
