//! The search: the shortest trace that breaks a promise, and the states from which the work cannot end.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Instant;

use stateright::{Checker as _, HasDiscoveries, Model, Property};

use crate::promises::{History, Promise};

/// A model whose promises can be checked.
pub trait Story:
    Model<State: Hash + Eq + Clone + Send + Sync + 'static, Action: Clone + PartialEq> + Clone + Send + Sync + 'static
{
    /// What happened in a state.
    fn history(state: &Self::State) -> &History;
    /// Returns true if the action is a fault, which nothing may wait for.
    fn is_fault(action: &Self::Action) -> bool;
    /// Returns true if all work of the state is done.
    fn is_finished(&self, state: &Self::State) -> bool;
    /// Returns the action in plain words.
    fn words(&self, action: &Self::Action) -> String;
}

/// Result of a search.
#[derive(Debug)]
pub struct Found {
    pub states: usize,
    pub seconds: f64,
    /// Each broken promise with the shortest trace to it.
    pub broken: Vec<(Promise, Vec<String>)>,
}

/// The story, of which stateright checks the promise `only`, or all promises of a state.
struct Checked<S> {
    story: S,
    only: Option<Promise>,
}

impl<S: Story> Model for Checked<S> {
    type State = S::State;
    type Action = S::Action;

    fn init_states(&self) -> Vec<S::State> {
        self.story.init_states()
    }

    fn actions(&self, state: &S::State, actions: &mut Vec<S::Action>) {
        self.story.actions(state, actions);
    }

    fn next_state(&self, state: &S::State, action: S::Action) -> Option<S::State> {
        self.story.next_state(state, action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always("promises", |model, state| {
            let history = S::history(state);
            model.only.map_or(history.holds(), |promise| !history.is_broken(promise))
        })]
    }
}

/// Searches the whole model, or until the promise `only` is broken.
pub fn search<S: Story>(model: &S, only: Option<Promise>) -> Found {
    let began = Instant::now();
    if only == Some(Promise::NothingWaits) {
        let (states, trace) = stuck(model);
        let broken = trace.map(|trace| (Promise::NothingWaits, trace)).into_iter().collect();
        return Found { states, seconds: began.elapsed().as_secs_f64(), broken };
    }
    // One thread, so that the first trace is a shortest trace.
    let checker = Checked { story: model.clone(), only }.checker().finish_when(HasDiscoveries::Any).spawn_bfs().join();
    let mut states = checker.unique_state_count();
    let mut broken = Vec::new();
    if let Some(path) = checker.discovery("promises") {
        let history = S::history(path.last_state());
        let promise = only.or(Promise::ALL.into_iter().find(|promise| history.is_broken(*promise)));
        let trace = path.clone().into_actions().iter().map(|action| model.words(action)).collect();
        broken.extend(promise.map(|promise| (promise, trace)));
    }
    if only.is_none() {
        let (all, trace) = stuck(model);
        states = states.max(all);
        broken.extend(trace.map(|trace| (Promise::NothingWaits, trace)));
    }
    Found { states, seconds: began.elapsed().as_secs_f64(), broken }
}

/// Looks for a state from which no sequence of actions without a fault leads to a finished state. Returns the number of
/// states and the shortest trace to such a state.
///
/// The check `eventually` of stateright misses cycles and states with several ways to them. So this function stores the
/// whole graph, and walks from the finished states backwards.
fn stuck<S: Story>(model: &S) -> (usize, Option<Vec<String>>) {
    let mut number: HashMap<S::State, usize> = HashMap::new();
    let mut states: Vec<S::State> = Vec::new();
    let mut from: Vec<Option<(usize, S::Action)>> = Vec::new();
    // The edges without a fault, backwards.
    let mut before: Vec<Vec<u32>> = Vec::new();
    for state in model.init_states() {
        number.insert(state.clone(), states.len());
        states.push(state);
        from.push(None);
        before.push(Vec::new());
    }
    let mut at = 0;
    while at < states.len() {
        for (action, next) in model.next_steps(&states[at].clone()) {
            let fault = S::is_fault(&action);
            let index = *number.entry(next).or_insert_with_key(|next| {
                states.push(next.clone());
                from.push(Some((at, action)));
                before.push(Vec::new());
                states.len() - 1
            });
            if !fault {
                before[index].push(u32::try_from(at).expect("fewer than 2^32 states"));
            }
        }
        at += 1;
    }
    let mut ends: Vec<bool> = states.iter().map(|state| model.is_finished(state)).collect();
    let mut waiting: Vec<usize> = (0..states.len()).filter(|index| ends[*index]).collect();
    while let Some(index) = waiting.pop() {
        for earlier in before[index].iter().map(|earlier| *earlier as usize) {
            if !std::mem::replace(&mut ends[earlier], true) {
                waiting.push(earlier);
            }
        }
    }
    let trace = ends.iter().position(|ends| !ends).map(|mut index| {
        let mut trace = Vec::new();
        while let Some((earlier, action)) = &from[index] {
            trace.push(model.words(action));
            index = *earlier;
        }
        trace.reverse();
        trace
    });
    (states.len(), trace)
}
