"""What the ledger asks of its file, in SQL. Each query that runs often has an index, however long the history is."""

UNATTENDED = """
    SELECT key, created_at FROM tasks INDEXED BY tasks_unended
    WHERE status NOT IN ('completed', 'failed') AND created_at > :born AND origin = :origin
        AND (status <> 'unconfirmed' OR created_at > :doubted AND key_id = :key_id)
        AND (task_id <> '' OR key_id = :key_id OR created_at <= :doubted)
        AND (lease_until <= :now OR lease_until > :now + :longest)
    UNION ALL
    SELECT key, created_at FROM tasks INDEXED BY tasks_unsaved
    WHERE status = 'completed' AND wants_file AND video_path = '' AND finished_at > :oldest AND origin = :origin
        AND video_urls <> '[]' AND (lease_until <= :now OR lease_until > :now + :longest)
    ORDER BY created_at"""
UNCONFIRMED = """
    SELECT key FROM tasks INDEXED BY tasks_unended
    WHERE status NOT IN ('completed', 'failed') AND status = 'unconfirmed' AND origin = ? AND key_id = ?
        AND created_at > ?
    ORDER BY created_at"""
JOINABLE = """
    SELECT * FROM tasks WHERE caller = ? AND fingerprint = ? AND (
        status NOT IN ('completed', 'failed') OR task_id <> '' AND NOT delivered OR error ->> 'charged' = 'unknown'
    ) ORDER BY created_at DESC LIMIT 1"""
ACTIVE = """
    SELECT count(*) FROM tasks INDEXED BY tasks_unended
    WHERE status NOT IN ('completed', 'failed') AND created_at > :born AND caller = :caller
        AND (status <> 'unconfirmed' OR created_at > :doubted)"""
SUBMITTED = """
    SELECT count(*) FROM tasks
    WHERE caller = :caller AND created_at > :born AND (task_id <> '' OR status <> 'failed')"""
DURATIONS = """
    SELECT finished_at - created_at AS seconds FROM tasks
    WHERE status = 'completed' AND model = ? AND finished_at - created_at < ? ORDER BY finished_at DESC LIMIT ?"""
CHANGED = """
    SELECT ledger, last, caller, task_id, listed FROM revisions LEFT JOIN (
        SELECT caller, task_id, listed > :since AS listed FROM tasks WHERE revision > :since
        UNION ALL
        SELECT caller, NULL, 1 FROM forgotten WHERE revision > :since
    ) ON true"""
PAGE = """
    SELECT * FROM tasks WHERE caller = :caller AND {status} (created_at, key) < (:created_at, :before)
    ORDER BY created_at DESC, key DESC LIMIT :limit"""
MATCHING = """
    SELECT * FROM tasks WHERE caller = :caller AND task_id <> '' AND created_at > coalesce(
            (SELECT created_at FROM tasks WHERE caller = :caller ORDER BY created_at DESC LIMIT 1 OFFSET :searched), -1)
        AND status IN (SELECT value FROM json_each(:states))
        AND NOT EXISTS (
            SELECT 1 FROM json_each(:words) WHERE NOT instr(casefold(task_id || ' ' || prompt), value))
    ORDER BY created_at DESC, key DESC LIMIT :limit"""

CLAIM = """
    UPDATE tasks SET lease_owner = :owner, lease_until = :until
    WHERE key = :key AND (lease_owner = :owner OR lease_until <= :now OR lease_until > :now + :longest)"""
RENEW = """
    UPDATE tasks SET lease_until = ? WHERE lease_owner = ? AND lease_owner <> ''
        AND key IN (SELECT value FROM json_each(?))"""
HELD = "SELECT 1 FROM tasks WHERE key = ? AND lease_owner = ?"
RELEASE = """
    UPDATE tasks SET lease_owner = '', lease_until = CASE WHEN status = :status OR :status = '' THEN :until ELSE 0 END
    WHERE key = :key AND lease_owner = :owner"""
GOES_ON = """(status NOT IN ('completed', 'failed') OR status = :status) AND task_id IN ('', :task_id)
    AND status IN (SELECT value FROM json_each(:past))"""
RESUBMIT = """
    UPDATE tasks SET status = 'submitting', error = NULL, updated_at = :now,
        lease_until = CASE lease_owner WHEN '' THEN 0 ELSE lease_until END
    WHERE key = :key AND status = 'unconfirmed'"""
UNCHANGED = "UPDATE revisions SET last = last"
FORGET = """
    DELETE FROM tasks WHERE status IN ('completed', 'failed', 'unconfirmed') AND updated_at < :before
        AND NOT (status = 'completed' AND wants_file AND video_path = '' AND finished_at > :oldest)"""
