"""What the ledger asks of its file, in SQL. Each query that runs often has an index, however long the history is.

`latest` is the end of what counts as now: what is later was not written by a clock that is right.
"""

UNATTENDED = """
    SELECT key, created_at FROM tasks INDEXED BY tasks_unended
    WHERE status NOT IN ('completed', 'failed') AND wanted_at > :born
        AND (origin = :origin OR task_id = '' AND attempts = 0 AND wanted_at NOT BETWEEN :doubted AND :latest)
        AND (status <> 'unconfirmed' OR key_id = :key_id AND (
            wanted_at BETWEEN :doubted AND :latest OR coalesce(sent_at, 0) BETWEEN :doubted AND :latest))
        AND (task_id <> '' OR key_id = :key_id OR NOT (
            wanted_at BETWEEN :doubted AND :latest OR coalesce(sent_at, 0) BETWEEN :doubted AND :latest))
        AND (lease_until <= :now OR lease_until > :now + CASE lease_owner WHEN '' THEN :aside ELSE :held END)
    UNION ALL
    SELECT key, created_at FROM tasks INDEXED BY tasks_unsaved
    WHERE status = 'completed' AND wants_file AND video_path = '' AND finished_at > :oldest
        AND origin = :origin AND key_id = :key_id AND video_urls <> '[]'
        AND (lease_until <= :now OR lease_until > :now + CASE lease_owner WHEN '' THEN :aside ELSE :held END)
    ORDER BY created_at"""
THAT_COUNTS = """
    SELECT * FROM tasks INDEXED BY tasks_that_count
    WHERE NOT (status = 'failed' AND charged = 'no') AND caller = ? AND name = ? AND take = ?"""
TAKES = """
    SELECT DISTINCT take FROM tasks AS used INDEXED BY tasks_by_request
    WHERE (caller, name) = (SELECT caller, name FROM tasks WHERE key = ?)"""
UNLESS_COUNTED = " ON CONFLICT (caller, name, take) WHERE NOT (status = 'failed' AND charged = 'no') DO NOTHING"
ACTIVE = """
    SELECT count(*) FROM tasks INDEXED BY tasks_unended
    WHERE status NOT IN ('completed', 'failed') AND wanted_at > :born AND caller = :caller AND key <> :besides
        AND (status <> 'unconfirmed' OR max(wanted_at, coalesce(sent_at, 0)) > :doubted)"""
SUBMITTED = """
    SELECT count(*) FROM tasks
    WHERE caller = :caller AND created_at > :born AND key <> :besides AND (task_id <> '' OR status <> 'failed')"""
DURATIONS = """
    SELECT finished_at - coalesce(sent_at, created_at) AS seconds FROM tasks
    WHERE status = 'completed' AND model = ? AND finished_at - coalesce(sent_at, created_at) BETWEEN 0 AND ?
    ORDER BY finished_at DESC LIMIT ?"""
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
            SELECT 1 FROM json_each(:words) WHERE NOT instr(casefold(CAST(task_id || ' ' || prompt AS BLOB)), value))
    ORDER BY created_at DESC, key DESC LIMIT :limit"""

CLAIM = """
    UPDATE tasks SET lease_owner = :owner, lease_until = :until
    WHERE key = :key AND (lease_owner = :owner OR lease_until <= :now
        OR lease_until > :now + CASE lease_owner WHEN '' THEN :aside ELSE :held END)"""
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
WANT = "UPDATE tasks SET wanted_at = ? WHERE key = ? AND task_id = '' AND status IN ('submitting', 'unconfirmed')"
SPENT = """
    SELECT coalesce(sum(cost), 0) AS total, coalesce(sum(cost) FILTER (WHERE finished_at >= :midnight), 0) AS today
    FROM (SELECT CASE WHEN cost_usd BETWEEN 0 AND :largest THEN cost_usd ELSE :price END AS cost, finished_at
        FROM tasks WHERE caller = :caller AND charged = 'yes' AND origin = :origin)"""
UPLOADED = (
    "SELECT url FROM uploads WHERE origin = ? AND key_id = ? AND digest = ? AND expires_at > ? AND expires_at < ?"
)
REMEMBER_UPLOAD = "INSERT OR REPLACE INTO uploads VALUES (?, ?, ?, ?, ?)"
FORGET_UPLOADS = "DELETE FROM uploads WHERE expires_at <= ? OR url = ?"
WANT_FILE = """
    UPDATE tasks SET wants_file = 1, video_path = '', error = NULL, failures = 0, updated_at = :now,
        lease_owner = CASE WHEN error IS NULL OR lease_owner = :owner THEN lease_owner ELSE '' END,
        lease_until = CASE WHEN lease_owner = :owner OR lease_owner <> '' AND error IS NULL THEN lease_until ELSE 0 END
    , file_name = CASE :name WHEN '' THEN file_name ELSE :name END
    WHERE key = :key AND status = 'completed' AND video_path = :path"""
GIVE_UP_FILE = """
    UPDATE tasks SET wants_file = 0 WHERE key = ? AND status = 'completed' AND video_path = '' AND error IS NOT NULL"""
RELINK = "UPDATE tasks SET video_urls = ?, error = ?, updated_at = ? WHERE key = ? AND status = 'completed'"
TAKE_PATH = "UPDATE tasks SET video_path = '', wants_file = 0 WHERE video_path = ? AND key <> ?"
SAVE_TOO = "UPDATE tasks SET wants_file = 1 WHERE key = ? AND video_path = '' AND NOT wants_file"
NAMED = "SELECT 1 FROM tasks WHERE task_id = ? AND task_id <> '' AND key <> ?"
UNCHANGED = "UPDATE revisions SET last = last"
FORGET = """
    DELETE FROM tasks WHERE status IN ('completed', 'failed') AND updated_at < :before
        AND NOT (status = 'completed' AND wants_file AND video_path = '' AND finished_at > :oldest)"""
