//! The search: the shortest trace to a broken promise, and the states from which the work cannot end.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Instant;

use stateright::{Checker as _, HasDiscoveries, Model, Path, Property};

use crate::promises::{History, Promise};

/// Defines the actions of a model, each with plain words. `expected` actions are no faults.
#[macro_export]
macro_rules! actions {
    (expected { $($name:ident $(($($value:ident: $type:ty),*))? => $words:literal;)* }
     faults { $($fault:ident $(($($of:ident: $kind:ty),*))? => $says:literal;)* }) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Action { $($name $(($($type),*))?,)* $($fault $(($($kind),*))?,)* }

        impl $crate::checking::Event for Action {
            fn words(&self) -> String {
                match self {
                    $(Self::$name $(($($value),*))? => format!($words),)*
                    $(Self::$fault $(($($of),*))? => format!($says),)*
                }
            }

            fn is_fault(&self) -> bool {
                matches!(self, $(Self::$fault { .. })|*)
            }
        }
    };
}

/// An action of a model.
pub trait Event: Clone + PartialEq {
    /// Returns the action in plain words.
    fn words(&self) -> String;
    /// Returns true if the action is a fault, which nothing may wait for.
    fn is_fault(&self) -> bool;
}

/// A model whose promises can be checked.
pub trait Story:
    Model<State: Hash + Eq + Clone + Send + Sync + 'static, Action: Event> + Clone + Send + Sync + 'static
{
    fn history(state: &Self::State) -> &History;
    /// Returns true if all work of the state is done.
    fn is_finished(&self, state: &Self::State) -> bool;
}

/// Returns the property that stateright checks.
pub fn property<S: Story>() -> Vec<Property<S>> {
    vec![Property::always("promises", |_, state| S::history(state).broken.is_none())]
}

/// Result of a search.
pub struct Found {
    pub states: usize,
    pub seconds: f64,
    /// The broken promise with a shortest trace to it.
    pub broken: Option<(Promise, Vec<String>)>,
}

/// Searches for a state that breaks a promise. `waits` tells whether [`Promise::NothingWaits`] is checked too.
pub fn search<S: Story>(model: &S, waits: bool) -> Found {
    let began = Instant::now();
    let mut found = Found { states: 0, seconds: 0.0, broken: None };
    // One thread, so that the first trace is a shortest trace.
    let checker = model.clone().checker().finish_when(HasDiscoveries::Any).spawn_bfs().join();
    found.states = checker.unique_state_count();
    found.broken = checker.discovery("promises").and_then(|path| {
        let promise = S::history(path.last_state()).broken?;
        Some((promise, Path::into_actions(path).iter().map(Event::words).collect()))
    });
    if waits && found.broken.is_none() {
        found.broken = stuck(model).map(|trace| (Promise::NothingWaits, trace));
    }
    found.seconds = began.elapsed().as_secs_f64();
    found
}

/// Looks for a state from which no sequence of actions without a fault leads to a finished state. Returns the shortest
/// trace to such a state.
///
/// The property `eventually` of stateright misses cycles and states with several ways to them. So this function stores
/// the whole graph, and walks from the finished states backwards.
fn stuck<S: Story>(model: &S) -> Option<Vec<String>> {
    let mut states = model.init_states();
    let mut numbers: HashMap<S::State, usize> = states.iter().cloned().zip(0..).collect();
    let mut from: Vec<Option<(usize, S::Action)>> = vec![None; states.len()];
    // For each state the states from which an action without a fault leads to it.
    let mut earlier: Vec<Vec<usize>> = vec![Vec::new(); states.len()];
    let mut at = 0;
    while at < states.len() {
        for (action, next) in model.next_steps(&states[at].clone()) {
            let fault = action.is_fault();
            let number = *numbers.entry(next).or_insert_with_key(|next| {
                states.push(next.clone());
                from.push(Some((at, action)));
                earlier.push(Vec::new());
                states.len() - 1
            });
            if !fault {
                earlier[number].push(at);
            }
        }
        at += 1;
    }
    let mut can_end: Vec<bool> = states.iter().map(|state| model.is_finished(state)).collect();
    let mut waiting: Vec<usize> = (0..states.len()).filter(|number| can_end[*number]).collect();
    while let Some(number) = waiting.pop() {
        waiting.extend(earlier[number].iter().filter(|earlier| !std::mem::replace(&mut can_end[**earlier], true)));
    }
    let mut at = can_end.iter().position(|can_end| !can_end)?;
    let mut trace = Vec::new();
    while let Some((earlier, action)) = &from[at] {
        trace.push(action.words());
        at = *earlier;
    }
    trace.reverse();
    Some(trace)
}
