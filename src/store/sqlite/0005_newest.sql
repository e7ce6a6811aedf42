-- A start reads all of the newest entries, so it needs no index of the consumptions.
DROP INDEX leaf_dated;
