-- The fingerprint of a job that died, so that dead jobs can be grouped. queuectl_fault is ``fault_of`` of the model.
-- NULL: it never died. One that was retried keeps the last one, outside of the index.

ALTER TABLE job ADD COLUMN fault TEXT;
UPDATE job SET fault = queuectl_fault(command, reason) WHERE state = 4;
CREATE INDEX faults ON job (fault, updated_at) WHERE state = 4;

-- The highest token of a deleted job whose id a user had given: a later job of that id goes on from here, so that no
-- token that anybody still has fits it.
ALTER TABLE meta ADD COLUMN tokens INTEGER NOT NULL DEFAULT 0;
