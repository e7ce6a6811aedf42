//! Forms that work once, so that a reload or a double click does nothing twice.

use std::{
    collections::BTreeMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use documents::locked;

/// Time in which a form works. After this time, the person must load the page again.
const LIFE: Duration = Duration::from_secs(24 * 3600);
/// Maximum number of open forms. The oldest form stops working first.
const MOST: usize = 100_000;

/// Numbers of the forms that were not sent yet, each with the value that the program keeps for the form. Numbers can be
/// guessed, so a form also needs its seal.
#[derive(Default)]
pub struct OpenForms<T = ()>(Mutex<Issued<T>>);

#[derive(Default)]
struct Issued<T> {
    last: u64,
    open: BTreeMap<u64, (Instant, T)>,
}

impl OpenForms {
    /// Returns the number of a new form.
    pub fn issue(&self) -> String {
        self.issue_with(())
    }
}

impl<T> OpenForms<T> {
    /// Returns the number of a new form, and keeps a value for the form.
    pub(crate) fn issue_with(&self, kept: T) -> String {
        let mut issued = locked(&self.0);
        if issued.open.len() >= MOST {
            issued.open.pop_first();
        }
        issued.last += 1;
        let number = issued.last;
        issued.open.insert(number, (Instant::now(), kept));
        number.to_string()
    }

    /// Takes the value of a sent form. Returns `None` if the form was sent before, or is too old.
    pub fn take(&self, number: &str) -> Option<T> {
        let mut issued = locked(&self.0);
        let found = number
            .parse()
            .ok()
            .and_then(|number: u64| issued.open.remove(&number));
        found
            .filter(|(issued, _)| issued.elapsed() < LIFE)
            .map(|(_, kept)| kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_works_once() {
        let forms = OpenForms::default();
        let number = forms.issue_with("kept");
        assert_eq!(
            [
                forms.take(&number),
                forms.take(&number),
                forms.take("other")
            ],
            [Some("kept"), None, None]
        );
    }
}
