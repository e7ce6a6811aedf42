/work/wt/model/tests/model/target/release/deps/id_set-df264a82615640d4.d: /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/id-set-0.2.2/src/lib.rs /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/id-set-0.2.2/src/store.rs

/work/wt/model/tests/model/target/release/deps/libid_set-df264a82615640d4.rlib: /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/id-set-0.2.2/src/lib.rs /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/id-set-0.2.2/src/store.rs

/work/wt/model/tests/model/target/release/deps/libid_set-df264a82615640d4.rmeta: /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/id-set-0.2.2/src/lib.rs /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/id-set-0.2.2/src/store.rs

/root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/id-set-0.2.2/src/lib.rs:
/root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/id-set-0.2.2/src/store.rs:
