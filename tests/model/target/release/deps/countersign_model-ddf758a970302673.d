/work/wt/model/tests/model/target/release/deps/countersign_model-ddf758a970302673.d: src/main.rs

/work/wt/model/tests/model/target/release/deps/countersign_model-ddf758a970302673: src/main.rs

src/main.rs:
