-- Workflows, where the resource engine is not enough. $1 is always the caller.

-- name: workflow_get (read)
-- Workflow $2. No row: absent or not theirs.
select t.id, t.owner_id, t.project_id, t.name, t.description, t.on_failure,
       t.steps, t.version, t.created_at, t.updated_at
from workflows t
where t.id = $2::uuid and (t.owner_id = $1::uuid) is true

-- name: workflow_project (read)
-- A row when project $2 is theirs.
select p.id from projects p where p.id = $2::uuid and (p.owner_id = $1::uuid) is true
