/* work.h: the face of what people work on: projects. */

#ifndef HIVE_WORK_H
#define HIVE_WORK_H

#include "workers/db/resource.h"

extern const resource_t project_resource;

void op_project_list(request_t *rq);
void op_project_create(request_t *rq);
void op_project_get(request_t *rq);
void op_project_update(request_t *rq);
void op_project_delete(request_t *rq);
void op_project_archive(request_t *rq);
void op_project_unarchive(request_t *rq);
void op_project_config_get(request_t *rq);
void op_project_config_put(request_t *rq);

void op_task_claim(request_t *rq);
void op_task_heartbeat(request_t *rq);
void op_task_progress(request_t *rq);
void op_task_complete(request_t *rq);
void op_task_fail(request_t *rq);

#endif
