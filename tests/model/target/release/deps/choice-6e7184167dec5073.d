/work/wt/model/tests/model/target/release/deps/choice-6e7184167dec5073.d: /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/choice-0.0.2/src/lib.rs

/work/wt/model/tests/model/target/release/deps/libchoice-6e7184167dec5073.rlib: /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/choice-0.0.2/src/lib.rs

/work/wt/model/tests/model/target/release/deps/libchoice-6e7184167dec5073.rmeta: /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/choice-0.0.2/src/lib.rs

/root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/choice-0.0.2/src/lib.rs:
