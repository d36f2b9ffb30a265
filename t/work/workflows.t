# workflows.t: definitions of workflows: a graph of steps is checked when it is
# stored, so that whatever is stored can run.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../lib";
use Hive::Test;
use Mojo::JSON qw(true false);
use Test::More;

my $hive = Hive::Test->start(workers => 2, nginx_workers => 1);
my $ada = $hive->register;
my $eve = $hive->register;
my $base = '/api/v1/workflows';

sub step { my ($name, $needs, %more) = @_; return { name => $name, kind => 'noop', $needs ? (depends_on => $needs) : (), %more } }

my $workflow;
subtest 'create, read, change, delete' => sub {
    my $steps = [step('fetch'), step('parse', ['fetch'], input => { text => '{{ steps.fetch.result.body }}', n => '{{ inputs.n }}' },
        title => 'Parse it', priority => 'high', timeout_ms => 1000, max_attempts => 2, backoff_ms => 10,
        on_dependency_failure => 'run', limit => { key => 'parse', max => 2 })];
    my $res = $hive->post($base, $ada, { name => 'Walk', description => 'by the sea', steps => $steps });
    is $res->code, 201, 'created' or diag $res->body;
    $workflow = $res->json;
    is_deeply $workflow->{steps}, $steps, 'its steps are as they were sent';
    is $workflow->{on_failure}, 'fail_fast', 'fails fast unless told otherwise';
    like $res->headers->location, qr{^/api/v1/workflows/$workflow->{id}$}, 'where it is';
    is $hive->get("$base/$workflow->{id}", $ada)->json->{name}, 'Walk', 'read';
    $res = $hive->patch("$base/$workflow->{id}", $ada, { on_failure => 'continue' });
    is $res->json->{on_failure}, 'continue', 'changed';
    is $res->json->{version}, 2, 'a new version';
    is_deeply $res->json->{steps}, $steps, 'the steps stay';
    ok !exists $hive->get($base, $ada)->json->{items}[0]{steps}, 'a list is without steps';
    is $hive->get("$base?q=sea", $ada)->json->{items}[0]{id}, $workflow->{id}, 'found by its text';
    is $hive->get("$base?name=Walk&sort=-updated_at", $ada)->json->{items}[0]{id}, $workflow->{id}, 'and its name';
    my $other = $hive->post($base, $ada, { name => 'x', steps => [step('a')] })->json->{id};
    is $hive->delete("$base/$other", $ada)->code, 204, 'deleted';
    is $hive->get("$base/$other", $ada)->code, 404, 'gone';
};

subtest 'what cannot run is not stored' => sub {
    my $check = sub {
        my ($steps, $field, $code, $name) = @_;
        my $res = $hive->post($base, $ada, { name => 'x', steps => $steps });
        is $res->code, 422, $name;
        my $error = $res->json->{errors}[0];
        is "$error->{field} $error->{code}", "$field $code", "says so of $field" or diag $res->body;
        return $error->{message};
    };
    $check->([], 'steps', 'wrong_type', 'no steps');
    $check->({}, 'steps', 'wrong_type', 'steps that are no array');
    $check->(['a'], 'steps[0]', 'wrong_type', 'a step that is no object');
    $check->([step('a b')], 'steps[0].name', 'invalid_name', 'a name with a space');
    $check->([step('x' x 65)], 'steps[0].name', 'invalid_name', 'a name too long');
    $check->([{ kind => 'noop' }], 'steps[0].name', 'required', 'no name');
    $check->([{ name => 'a' }], 'steps[0].kind', 'required', 'no kind');
    $check->([step('a', undef, colour => 'red')], 'steps[0].colour', 'unknown_member', 'an unknown member');
    $check->([step('a', undef, run_at => '2030-01-01T00:00:00Z')], 'steps[0].run_at', 'unknown_member', 'a member of tasks only');
    $check->([step('a', undef, input => [1])], 'steps[0].input', 'wrong_type', 'an input that is no object');
    $check->([step('a', undef, on_dependency_failure => 'panic')], 'steps[0].on_dependency_failure', 'invalid_value', 'a policy there is not');
    $check->([step('a', undef, max_attempts => 0)], 'steps[0].max_attempts', 'too_small', 'no attempts');
    $check->([step('a', undef, priority => 'urgent')], 'steps[0].priority', 'invalid_value', 'no such priority');
    $check->([step('a', 'b')], 'steps[0].depends_on', 'wrong_type', 'depends_on that is no array');
    $check->([step('a'), step('a')], 'steps[1].name', 'duplicate_step', 'a name twice');
    $check->([step('a', ['b'])], 'steps[0].depends_on[0]', 'unknown_step', 'an unknown step');
    $check->([step('a'), step('b', ['a', 'a'])], 'steps[1].depends_on[1]', 'duplicate_dependency', 'a dependency twice');
    like $check->([step('a', ['c']), step('b', ['a']), step('c', ['b'])], 'steps[0].depends_on', 'dependency_cycle', 'a cycle'),
        qr/a -> b -> c -> a/, 'which is named';
    $check->([step('a', ['a'])], 'steps[0].depends_on', 'dependency_cycle', 'a step that waits for itself');
    $check->([step('a', undef, input => { x => '{{ inputs.a' })], 'steps[0].input.x', 'invalid_template', 'a template not closed');
    $check->([step('a', undef, input => { x => ['{{ env.HOME }}'] })], 'steps[0].input.x[0]', 'invalid_template', 'a template of nothing known');
    $check->([step('a'), step('b', undef, input => { x => '{{ steps.a.result }}' })], 'steps[1].input.x', 'not_an_ancestor',
        'a quote of a step that need not have ended');
    $check->([step('a', undef, input => { x => '{{ steps.z.result }}' })], 'steps[0].input.x', 'unknown_step', 'a quote of no step');
    $check->([step('a', undef, input => { x => '{{ schedule.time }}' })], 'steps[0].input.x', 'invalid_template', 'a quote of a schedule');
    $check->([map { step("s$_") } 1 .. 1001], 'steps', 'too_many', 'more than 1,000 steps');
    is $hive->patch("$base/$workflow->{id}", $ada, { steps => [step('a', ['a'])] })->code, 422, 'nor by a change';
    my $res = $hive->post($base, $ada, { steps => [step('a', ['a'])], colour => 1 });
    is_deeply [sort map { $_->{field} } @{ $res->json->{errors} }], ['colour', 'name', 'steps[0].depends_on'], 'all faults at once';
    is $hive->post($base, $ada, { name => 'x', steps => [map { step("s$_", $_ > 1 ? ['s' . ($_ - 1)] : undef) } 1 .. 1000] })->code, 201,
        '1,000 in a row are';
};

subtest 'projects' => sub {
    my $project = $hive->post('/api/v1/projects', $ada, { name => 'p' })->json->{id};
    my $res = $hive->post($base, $ada, { name => 'x', steps => [step('a')], project_id => $project });
    is $res->json->{project_id}, $project, 'in a project';
    is scalar @{ $hive->get("$base?project_id=$project", $ada)->json->{items} }, 1, 'found by it';
    $res = $hive->post($base, $eve, { name => 'x', steps => [step('a')], project_id => $project });
    is $res->code, 422, 'not in that of another';
    is $res->json->{errors}[0]{field}, 'project_id', 'which is said';
};

subtest 'a stranger' => sub {
    my $there = "$base/$workflow->{id}";
    is $hive->get($there, $eve)->code, 404, 'cannot see it';
    is $hive->patch($there, $eve, { name => 'mine' })->code, 404, 'nor change it';
    is $hive->delete($there, $eve)->code, 404, 'nor delete it';
    is $hive->post("$there/runs", $eve)->code, 404, 'nor run it';
    is_deeply $hive->get($base, $eve)->json->{items}, [], 'nor find it';
    is $hive->get($there)->code, 401, 'nobody sees it without a token';
};

subtest 'running one' => sub {
    my $there = "$base/$workflow->{id}/runs";
    my $res = $hive->post($there, $ada, { input => { n => 7 } });
    is $res->code, 201, 'begun' or diag $res->body;
    my $run = $res->json;
    is $run->{workflow_id}, $workflow->{id}, 'a run of it';
    is $run->{workflow_version}, 2, 'of this version';
    is $run->{name}, 'Walk', 'with its name';
    is $run->{on_failure}, 'continue', 'and its policy';
    is $run->{total}, 2, 'of two tasks';
    like $res->headers->location, qr{^/api/v1/runs/$run->{id}$}, 'where it is';
    is $hive->post($there, $ada, { input => [] })->code, 422, 'an input is an object';
    is $hive->post($there, $ada, { colour => 1 })->code, 422, 'nothing else is taken';
    $res = $hive->post($there, $ada, { input => {} });
    is $res->code, 422, 'not without the input that it quotes';
    is $res->json->{code}, 'template_error', 'which is said';
    like $res->json->{detail}, qr/inputs\.n/, 'by name';

    my $key = { 'Idempotency-Key' => "run-$$" };
    my $one = $hive->post($there, $ada, { input => { n => 8 } }, $key);
    my $two = $hive->post($there, $ada, { input => { n => 8 } }, $key);
    is $one->code, 201, 'with a key' or diag $one->body;
    is $two->json->{id}, $one->json->{id}, 'sent twice it is one run';
    is $hive->psql("select count(*) from cell0.runs where input->>'n' = '8'"), 1, 'and one row';
};

$hive->stop;
done_testing;
