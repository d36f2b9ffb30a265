# tasks_batch.t: up to a thousand tasks in one request, each with an outcome of
# its own; and dead letters, tried again in one go.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../lib";
use Hive::Test;
use Mojo::JSON qw(true false);
use Test::More;

my $hive = Hive::Test->start(workers => 2, nginx_workers => 2);
my $ada = $hive->register;
my $eve = $hive->register;
my $base = '/api/v1/tasks';

sub batch {
    my ($action, $items, %o) = @_;
    return $hive->post("$base/batch", $o{user} // $ada, { action => $action, items => $items }, $o{headers});
}

sub outcomes { [map { join ' ', $_->{status}, $_->{state} // (), $_->{code} // () } @{ $_[0]->json->{items} }] }
sub now { $hive->get("$base/$_[0]", $ada)->json }
sub code { ($_[0]->json // {})->{code} // '' }

sub claim { @{ $hive->post("$base/claim", $ada, { kinds => [$_[0]], max => $_[1] // 1 })->json->{tasks} } }

sub fail_all {
    my ($kind, $n) = @_;
    for my $lease (claim($kind, $n)) {
        my $res = $hive->post("$base/$lease->{id}/fail", $ada, { lease_token => $lease->{lease_token}, final => true, error => { code => 'bad', message => 'no' } });
        die $res->body if $res->code >= 300;
    }
}

subtest 'create' => sub {
    my $first = $hive->post($base, $ada, { kind => 'b.p', paused => true })->json;
    my $res = batch(create => [
        { kind => 'b.a', title => 'one', labels => ['x', 'y'], input => { n => 1 } },
        { kind => 'b.a', title => 7, priority => 'top' },
        { kind => 'b.b', run_at => '2040-01-01T00:00:00Z', priority => 9 },
        'text',
        { kind => 'b.a', unique_key => 'u' },
        { kind => 'b.a', unique_key => 'u' },
        { kind => 'b.a', unique_key => 'u', on_duplicate => 'refuse' },
        { kind => 'b.a', unique_key => 'v' },
        { kind => 'b.a', unique_key => 'u', on_duplicate => 'replace', title => 'replaced' },
        { kind => 'b.c', depends_on => [$first->{id}] },
        { kind => 'b.c', depends_on => ['018f0000-0000-7000-8000-000000000001'] },
        { kind => 'b.c', project_id => '018f0000-0000-7000-8000-000000000001' },
        { kind => 'b.c', limit => { key => 'l', max => 1 }, description => 'D', deadline_at => '2040-01-01T00:00:00Z', timeout_ms => 1000, backoff_ms => 5, max_attempts => 2 },
    ]);
    is $res->code, 200, 'a reply for all';
    is_deeply outcomes($res), ['201 ready', '422 invalid_fields', '201 scheduled', '422 invalid_fields', '201 ready', '200', '409 duplicate_task',
        '201 ready', '200', '201 blocked', '422 dependency_not_found', '422 project_not_found', '201 ready'], 'each as it would be alone';
    my $items = $res->json->{items};
    is $items->[5]{id}, $items->[4]{id}, 'a duplicate within the batch is the first';
    is now($items->[4]{id})->{title}, 'replaced', 'which the last has replaced';
    is_deeply [sort map { "$_->{field} $_->{code}" } @{ $items->[1]{errors} }], ['priority invalid_value', 'title wrong_type'], 'faults are named';
    is $res->json->{succeeded}, 8, 'eight made or found';
    is $res->json->{failed}, 5, 'five not';
    my $last = now($items->[12]{id});
    is_deeply [@$last{qw(description timeout_ms backoff_ms max_attempts limit_key deadline_at)}], ['D', 1000, 5, 2, 'l', '2040-01-01T00:00:00.000Z'], 'with all that it had';
    my $one = now($items->[0]{id});
    is_deeply [@$one{qw(title labels input priority)}], ['one', ['x', 'y'], { n => 1 }, 5], 'and each with its own';
    is now($items->[2]{id})->{priority}, 9, 'priorities too';
    is $hive->psql("select string_agg(distinct type, ',') from cell0.task_events('$items->[0]{id}')"), 'task.created', 'events too';
};

subtest 'a thousand' => sub {
    my $res = batch(create => [map { { kind => 'b.k', input => { n => $_ } } } 1 .. 1000]);
    is $res->json->{succeeded}, 1000, 'are made';
    my @ids = map { $_->{id} } @{ $res->json->{items} };
    is_deeply \@ids, [sort @ids], 'in order';
    is $hive->psql("select count(*) from cell0.tasks where kind = 'b.k' and (input->>'n')::int between 1 and 1000"), 1000, 'each with its input';
    $res = batch(update => [map { { id => $_, priority => 8 } } @ids]);
    is $res->json->{succeeded}, 1000, 'changed';
    is $hive->psql("select count(*) from cell0.tasks where kind = 'b.k' and priority = 8"), 1000, 'all';
    $res = batch(cancel => \@ids);
    is $res->json->{succeeded}, 1000, 'cancelled';
    $res = batch(retry => \@ids);
    is $res->json->{succeeded}, 1000, 'retried';
    $res = batch(delete => \@ids);
    is $res->json->{succeeded}, 1000, 'deleted';
    is $hive->psql("select count(*) from cell0.all_tasks where kind = 'b.k'"), 0, 'gone';
    is batch(create => [map { { kind => 'x' } } 1 .. 1001])->json->{errors}[0]{code}, 'too_many', 'one more is too many';
};

subtest 'what is wrong' => sub {
    my $wrong = sub { my $res = $hive->post("$base/batch", $ada, $_[0]); $res->code . ' ' . ($res->json->{errors}[0]{field} // '') };
    is $wrong->({}), '422 action', 'no action';
    is $wrong->({ action => 'create' }), '422 items', 'no items';
    is $wrong->({ action => 'create', items => [] }), '422 items', 'none';
    is $wrong->({ action => 'explode', items => [1] }), '422 action', 'an unknown one';
    is $wrong->({ action => 'create', items => [{}], x => 1 }), '422 x', 'more than that';
    is_deeply outcomes(batch(cancel => ['x', 7, undef])), [('422 invalid_fields') x 3], 'ids that are none';
    is_deeply outcomes(batch(update => [{ title => 'x' }, { id => 'x' }, 'x'])), [('422 invalid_fields') x 3], 'nor in updates';
};

subtest 'cancel, retry, update, delete' => sub {
    my @t = map { $_->{id} } @{ batch(create => [map { { kind => 'b.m' } } 1 .. 4])->json->{items} };
    my $theirs = batch(create => [{ kind => 'b.m' }], user => $eve)->json->{items}[0]{id};
    my ($lease) = claim('b.m');
    is $lease->{id}, $t[0], 'one runs';
    is_deeply outcomes(batch(cancel => [$t[1], $t[0], $theirs, $t[1]])), ['200 cancelled', '202 running', '404 task_not_found', '200 cancelled'], 'cancel';
    is_deeply outcomes(batch(update => [{ id => $t[2], title => 'T' }, { id => $t[1], title => 'T' }, { id => $t[0], input => {} }, { id => $theirs, title => 'T' },
        { id => $t[3], kind => 'x' }, { id => $t[2], priority => 1 }])),
        ['200 ready', '409 cancelled task_finished', '409 task_running', '404 task_not_found', '422 invalid_fields', '200 ready'], 'update';
    is_deeply [@{ now($t[2]) }{qw(title priority)}], ['T', 1], 'in their order';
    is_deeply outcomes(batch(retry => [$t[1], $t[2], $theirs])), ['200 ready', '409 ready task_not_finished', '404 task_not_found'], 'retry';
    is_deeply outcomes(batch(delete => [@t, $theirs])), ['409 task_running', '204', '204', '204', '404 task_not_found'], 'delete';
};

subtest 'Idempotency-Key' => sub {
    my @res = map { batch(create => [{ kind => 'b.i' }, { kind => 'b.i', unique_key => 'i' }], headers => { 'Idempotency-Key' => 'batch-1' }) } 1, 2;
    is_deeply $res[1]->json, $res[0]->json, 'the same reply';
    is $hive->psql("select count(*) from cell0.tasks where kind = 'b.i'"), 2, 'made once';
    my @ids = map { $_->{id} } @{ $res[0]->json->{items} };
    @res = map { batch(cancel => \@ids, headers => { 'Idempotency-Key' => 'batch-2' }) } 1, 2;
    is_deeply outcomes($res[1]), ['200 cancelled', '200 cancelled'], 'cancel too';
};

subtest 'batches with the same keys, both ways round' => sub {
    my %made;
    for my $round (1 .. 5) {
        my @keys = map { "r$round.$_" } 1 .. 100;
        my @promises = map { my @k = $_ % 2 ? @keys : reverse @keys;
            $hive->ua->post_p($hive->url("$base/batch"), { Authorization => "Bearer $ada->{token}" },
                json => { action => 'create', items => [map { { kind => 'b.r', unique_key => $_ } } @k] })
            ->then(sub { my $res = $_[0]->res; $made{$round} += grep { $_->{status} == 201 } @{ $res->json->{items} // [] }; is $res->code, 200, 'served' if $res->code != 200 })
        } 1 .. 4;
        Mojo::Promise->all(@promises)->wait;
    }
    is_deeply [values %made], [(100) x 5], 'each key is made once' or diag explain \%made;
};

subtest 'dead letters' => sub {
    my @t = map { $_->{id} } @{ batch(create => [map { { kind => $_ % 2 ? 'd.odd' : 'd.even', labels => [$_ > 5 ? 'late' : 'early'] } } 1 .. 10])->json->{items} };
    fail_all($_, 10) for qw(d.odd d.even);
    my $listed = $hive->get("$base?state=failed&kind=d.odd", $ada)->json->{items};
    is scalar @$listed, 5, 'they are listed as all tasks are';
    is $listed->[0]{error}{code}, 'bad', 'with what went wrong';
    my $redrive = sub { $hive->post("$base/redrive", $_[1] // $ada, $_[0])->json };
    is_deeply [@{ $redrive->({ kind => 'd.odd' }, $eve) }{qw(matched retried)}], [0, 0], 'nobody else has them';
    my $res = $redrive->({ kind => 'd.odd', limit => 2 });
    is_deeply $res, { matched => 2, retried => 2, more => true, refused => [] }, 'two of them, the oldest first';
    is now($t[0])->{state}, 'ready', 'are tried again';
    is_deeply [@{ $redrive->({ labels => ['late'], kind => 'd.even' }) }{qw(matched retried more)}], [3, 3, false], 'by label';
    is $redrive->({ finished_after => '2040-01-01T00:00:00Z' })->{matched}, 0, 'by when they ended';
    is $redrive->({ finished_before => '2001-01-01T00:00:00Z' })->{matched}, 0, 'or before';
    is $redrive->({ run_id => '018f0000-0000-7000-8000-000000000001' })->{matched}, 0, 'or their run';
    batch(create => [{ kind => 'd.key', unique_key => 'k' }]);
    fail_all('d.key');
    batch(create => [{ kind => 'd.key', unique_key => 'k' }]);
    $res = $redrive->({ kind => 'd.key' });
    is $res->{refused}[0]{code}, 'duplicate_task', 'one whose key is taken stays';
    is $redrive->({})->{retried}, 5, 'the rest';
    is code($hive->post("$base/redrive", $ada, { limit => 1001 })), 'invalid_fields', 'a thousand at most';
    is code($hive->post("$base/redrive", $ada, { colour => 1 })), 'invalid_fields', 'what is no filter is refused';
};

$hive->stop;
done_testing;
