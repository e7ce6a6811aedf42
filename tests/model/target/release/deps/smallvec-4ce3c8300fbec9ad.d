/work/wt/model/tests/model/target/release/deps/smallvec-4ce3c8300fbec9ad.d: /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/smallvec-1.16.6/src/lib.rs

/work/wt/model/tests/model/target/release/deps/libsmallvec-4ce3c8300fbec9ad.rlib: /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/smallvec-1.16.6/src/lib.rs

/work/wt/model/tests/model/target/release/deps/libsmallvec-4ce3c8300fbec9ad.rmeta: /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/smallvec-1.16.6/src/lib.rs

/root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/smallvec-1.16.6/src/lib.rs:
