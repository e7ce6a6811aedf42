//! Uses of a grant to a token, and an administrator who changes rows of the database.

use stateright::{Model, Property};

use crate::actions;
use crate::checking::{Story, property};
use crate::promises::{History, Promise};
use crate::rules::Rules;

/// The job that presents the sealed credential.
const JOB: usize = 0;
/// Somebody who presents another credential.
const THIEF: usize = 1;

/// The model. Each caller asks for a run of its own, whose number is that of the caller.
#[derive(Clone)]
pub struct Tokens {
    pub rules: Rules,
    pub faults: u8,
    pub only: Option<Promise>,
}

/// How far the call of a caller is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
enum Call {
    #[default]
    Waiting,
    Asked,
    Stored,
    Signed,
    Over,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct State {
    calls: [Call; 2],
    /// The run in the row of each caller's proposal.
    rows: [Option<usize>; 2],
    /// The row of the token has the credential of the thief.
    token_changed: bool,
    faults: u8,
    history: History,
}

actions! {
    expected {
        Ask(caller: usize) => "caller {caller} asks for its run (0 is the job, 1 is a thief)";
        Judge(caller: usize) => "the boundary compares the credential of caller {caller}, and stores its proposal";
        Sign(caller: usize) => "the boundary signs the use of caller {caller}";
        Consume(caller: usize) => "the use of caller {caller} is consumed";
    }
    faults {
        ChangeToken => "an administrator writes the credential of the thief into the row of the token";
        ChangeProposal(caller: usize, run: usize) => "an administrator writes run {run} into the proposal of caller {caller}";
        Crash => "the boundary ends, and its callers repeat their calls";
    }
}

impl Model for Tokens {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let history = History::new(self.only);
        vec![State { faults: self.faults, history, ..State::default() }]
    }

    fn actions(&self, s: &State, out: &mut Vec<Action>) {
        for caller in [JOB, THIEF] {
            out.extend(match s.calls[caller] {
                Call::Waiting => Some(Action::Ask(caller)),
                Call::Asked => Some(Action::Judge(caller)),
                Call::Stored => Some(Action::Sign(caller)),
                Call::Signed => Some(Action::Consume(caller)),
                Call::Over => None,
            });
        }
        if s.faults == 0 {
            return;
        }
        out.push(Action::Crash);
        out.extend((!s.token_changed).then_some(Action::ChangeToken));
        for caller in [JOB, THIEF] {
            let others = [JOB, THIEF].into_iter().filter(|run| s.rows[caller].is_some_and(|known| known != *run));
            out.extend(others.map(|run| Action::ChangeProposal(caller, run)));
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        use crate::checking::Event as _;
        let (mut s, rules) = (last.clone(), &self.rules);
        s.faults -= u8::from(action.is_fault());
        match action {
            Action::Ask(caller) => s.calls[caller] = Call::Asked,
            Action::Judge(caller) => {
                let presented = caller == JOB || !rules.credential_of_seal && s.token_changed;
                s.calls[caller] = if presented { Call::Stored } else { Call::Over };
                // A repeated call finds the proposal of the first call.
                s.rows[caller] = s.rows[caller].or(presented.then_some(caller));
            }
            Action::Sign(caller) => {
                let differs = s.rows[caller] != Some(caller);
                let refused = rules.asked_is_signed && differs;
                s.calls[caller] = if refused { Call::Over } else { Call::Signed };
            }
            Action::Consume(caller) => {
                s.history.demand(Promise::PresentedOnly, s.rows[caller] == Some(JOB) && caller == JOB);
                s.calls[caller] = Call::Over;
            }
            Action::ChangeToken => s.token_changed = true,
            // A signature covers the run, so a later change of the row has no effect.
            Action::ChangeProposal(caller, run) => {
                if s.calls[caller] == Call::Signed {
                    s.calls[caller] = Call::Over;
                }
                s.rows[caller] = Some(run);
            }
            Action::Crash => {
                for call in &mut s.calls {
                    if matches!(call, Call::Asked | Call::Stored) {
                        *call = Call::Waiting;
                    }
                }
            }
        }
        Some(s)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        property()
    }
}

impl Story for Tokens {
    fn history(state: &State) -> &History {
        &state.history
    }

    fn is_finished(&self, s: &State) -> bool {
        s.calls == [Call::Over; 2]
    }
}
