/work/wt/model/tests/model/target/release/countersign-model: /work/wt/model/tests/model/src/main.rs
