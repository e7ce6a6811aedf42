-- How many nonces are kept. A row that is deleted by hand shows at the next start, in the time that counting takes.
ALTER TABLE state ADD COLUMN nonces INTEGER NOT NULL DEFAULT 0;
UPDATE state SET nonces = (SELECT count(*) FROM nonce);
