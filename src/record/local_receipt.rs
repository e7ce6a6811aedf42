//! local_receipt
