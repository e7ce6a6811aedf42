//! Forms that work once, so that a reload or a double click does nothing twice.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Time in which a form works. An older page is loaded again.
const LIFE: Duration = Duration::from_secs(24 * 3600);
/// Maximum number of open forms. The oldest form stops working first.
const MOST: usize = 100_000;

/// Numbers of the forms that nobody has sent. The seal of a form makes its number impossible to guess.
#[derive(Debug, Default)]
pub struct OpenForms(Mutex<Issued>);

#[derive(Debug, Default)]
struct Issued {
    last: u64,
    open: BTreeMap<u64, Instant>,
}

impl OpenForms {
    /// Returns the number of a new form.
    pub fn issue(&self) -> String {
        let mut issued = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if issued.open.len() >= MOST {
            issued.open.pop_first();
        }
        issued.last += 1;
        let number = issued.last;
        issued.open.insert(number, Instant::now());
        number.to_string()
    }

    /// Takes the number of a sent form. Returns false if the form was sent before, or is too old.
    pub fn take(&self, number: &str) -> bool {
        let mut issued = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = number.parse().ok().and_then(|number: u64| issued.open.remove(&number));
        found.is_some_and(|issued| issued.elapsed() < LIFE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_works_once() {
        let forms = OpenForms::default();
        let number = forms.issue();
        assert!(forms.take(&number) && !forms.take(&number) && !forms.take("other"));
    }
}
