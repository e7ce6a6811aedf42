//! The documentation examples that must not compile.
//!
//! The stable rustdoc accepts any compile error in such an example. If a type is renamed, the example still fails, but
//! because of its import. Therefore the compiler checks the imports of these examples here.
use std::path::Path;

use crate::rust_source::rust_files;

mod imports {
    #![allow(unused_imports, reason = "only the existence of the names matters")]
    mod skip {
        use crossing::{Accepted, Crossing};
    }
    mod twice {
        use crossing::{Consumed, Crossing};
    }
    mod forge {
        use crossing::{Accepted, VerifiedRequest};
    }
    mod copy {
        use crossing::Admitted;
    }
    mod peek {
        use documents::{Authorization, Signed};
    }
    mod forge_document {
        use documents::{Authorization, Statement, Verified};
    }
    mod forge_window {
        use verdict::WithinWindow;
    }
    mod forge_run_window {
        use verdict::{RunWindow, WindowBounds};
    }
    mod forge_stands {
        use verdict::Stands;
    }
    mod forget_limit {
        use verdict::{RunWindow, TimeLimits};
    }
}

#[test]
fn every_example_that_must_not_compile_imports_existing_names() {
    let here = include_str!("compile_fail.rs");
    let mut examples = 0;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (path, source) in ["src", "crates"]
        .iter()
        .flat_map(|directory| rust_files(&root.join(directory)))
    {
        for example in source.split("```compile_fail").skip(1) {
            examples += 1;
            let example = example.split("```").next().unwrap_or_default();
            let imports: Vec<&str> = example
                .lines()
                .map(|line| line.trim_start_matches(['/', '!', '#', ' ']))
                .filter(|line| line.starts_with("use "))
                .collect();
            assert!(
                !imports.is_empty(),
                "{}: an example without an import",
                path.display()
            );
            for import in imports {
                assert!(
                    here.contains(import),
                    "{}: add this line to a module of `imports`: {import}",
                    path.display()
                );
            }
        }
    }
    assert!(examples >= 8, "only {examples} examples found");
}
