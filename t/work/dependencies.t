# dependencies.t: a task waits for others; no cycle can be stored, however it
# is tried; and who is free is free once.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../lib";
use Hive::Test;
use Mojo::JSON qw(true false);
use Mojo::Promise;
use Test::More;

my $hive = Hive::Test->start(workers => 2, nginx_workers => 2);
my $ada = $hive->register;
my $base = '/api/v1/tasks';
my $serial = 0;

sub add {
    my (%o) = @_;
    my $res = $hive->post($base, $ada, { kind => 'test.' . ++$serial, %o });
    $res->code == 201 or die 'add: ' . $res->code . ' ' . $res->body;
    return $res->json;
}

sub now { $hive->get("$base/$_[0]{id}", $ada)->json }
sub code { ($_[0]->json // {})->{code} // '' }
sub link_to { $hive->post("$base/$_[0]{id}/dependencies", $ada, { task_id => $_[1]{id} }) }
sub unlink_from { $hive->delete("$base/$_[0]{id}/dependencies/$_[1]{id}", $ada) }
sub row { $hive->psql("select $_[1] from cell0.tasks where id = '$_[0]{id}'") }
sub parents { [map { $_->{task_id} } @{ $hive->get("$base/$_[0]{id}/dependencies?limit=100", $ada)->json->{items} }] }

sub finish {
    my ($task, %error) = @_;
    my $lease = $hive->post("$base/claim", $ada, { kinds => [$task->{kind}] })->json->{tasks}[0] // die 'not claimed';
    my $res = $hive->post("$base/$lease->{id}/" . (%error ? 'fail' : 'complete'), $ada,
        { lease_token => $lease->{lease_token}, (%error ? (error => \%error, final => true) : ()) });
    die $res->body if $res->code >= 300;
    return $task;
}

my %bad = (code => 'bad', message => 'no');

subtest 'from the start' => sub {
    my @first = map { add() } 1 .. 3;
    my $last = add(depends_on => [(map { $_->{id} } @first), $first[0]{id}]);
    is $last->{state}, 'blocked', 'it waits';
    is row($last, 'deps_left'), 3, 'for each once';
    is_deeply parents($last), [sort map { $_->{id} } @first], 'which are listed';
    my $items = $hive->get("$base/$last->{id}/dependencies", $ada)->json->{items};
    is $items->[0]{satisfied}, false, 'not done yet';
    is $items->[0]{kind}, $first[0]{kind}, 'with what they are';
    is_deeply [map { $_->{task_id} } @{ $hive->get("$base/$first[0]{id}/dependencies?direction=children", $ada)->json->{items} }], [$last->{id}], 'from the other end too';
    finish($_) for @first[0, 1];
    is now($last)->{state}, 'blocked', 'two of three are not all';
    is $hive->get("$base/$last->{id}/dependencies", $ada)->json->{items}[0]{satisfied}, true, 'one is done';
    finish($first[2]);
    is now($last)->{state}, 'ready', 'all three are';
    my $next = add(depends_on => [$first[0]{id}]);
    is $next->{state}, 'ready', 'what has succeeded is not waited for';
    is_deeply parents($next), [$first[0]{id}], 'but known';

    my $failed = finish(add(), %bad);
    my $res = $hive->post($base, $ada, { kind => 'x', depends_on => [$failed->{id}] });
    is $res->code, 409, 'what has failed is refused';
    is code($res), 'dependency_failed', 'as such';
    is add(depends_on => [$failed->{id}], on_dependency_failure => 'run')->{state}, 'ready', 'unless that does not matter';
    $res = $hive->post($base, $ada, { kind => 'x', depends_on => ['018f0000-0000-7000-8000-000000000001'] });
    is $res->code, 422, 'and what is not there';
    is code($res), 'dependency_not_found', 'is not found';
};

subtest 'failure' => sub {
    my $first = add();
    my $skip = add(depends_on => [$first->{id}]);
    my $below = add(depends_on => [$skip->{id}]);
    my $run = add(depends_on => [$first->{id}], on_dependency_failure => 'run');
    my $after = add(depends_on => [$below->{id}], on_dependency_failure => 'run');
    finish($first, %bad);
    is now($skip)->{state}, 'skipped', 'who waited is skipped';
    is now($below)->{state}, 'skipped', 'and who waited for that';
    is now($run)->{state}, 'ready', 'but not who runs all the same';
    is now($after)->{state}, 'ready', 'at any distance';
};

subtest 'by hand' => sub {
    my ($a, $b) = (add(), add());
    my $res = link_to($b, $a);
    is $res->code, 201, 'b waits for a';
    is $res->json->{satisfied}, false, 'which is not done';
    is now($b)->{state}, 'blocked', 'blocked';
    is link_to($b, $a)->code, 200, 'twice is once';
    is row($b, 'deps_left'), 1, 'counted once';
    is unlink_from($b, $a)->code, 204, 'and not any more';
    is now($b)->{state}, 'ready', 'ready again';
    is unlink_from($b, $a)->code, 404, 'gone';
    is code(unlink_from($b, $a)), 'dependency_not_found', 'as such';
    link_to($b, $a);
    finish($a);
    is now($b)->{state}, 'ready', 'done, free';
    my $c = add(run_at => '2040-01-01T00:00:00Z');
    my $d = add();
    link_to($c, $d);
    is now($c)->{state}, 'blocked', 'a scheduled task too';
    unlink_from($c, $d);
    is now($c)->{state}, 'scheduled', 'which is scheduled again';
    my $e = add(paused => true);
    link_to($e, $d);
    is now($e)->{state}, 'paused', 'a paused task stays so';
    is row($e, 'deps_left'), 1, 'and waits';
    unlink_from($e, $d);
    is row($e, 'state || deps_left'), 'paused0', 'or not';
    is link_to($c, $a)->json->{satisfied}, true, 'what has succeeded is satisfied';
    is now($c)->{state}, 'scheduled', 'and changes nothing';

    my $running = add();
    $hive->post("$base/claim", $ada, { kinds => [$running->{kind}] });
    is code(link_to($running, $d)), 'task_running', 'what runs does not wait';
    is code(link_to($a, $d)), 'task_finished', 'nor what has ended';
    is code(link_to($d, finish(add(), %bad))), 'dependency_failed', 'nor anything for what has failed';
    is $hive->post("$base/$d->{id}/dependencies", $ada, {})->json->{errors}[0]{code}, 'required', 'a task_id is required';
    is $hive->post("$base/$d->{id}/dependencies", $ada, { task_id => 'x' })->json->{errors}[0]{code}, 'invalid_uuid', 'which is one';
    is $hive->post("$base/$d->{id}/dependencies", $ada, { task_id => $a->{id}, x => 1 })->json->{errors}[0]{code}, 'unknown_member', 'and nothing else';
    is $hive->get("$base/$d->{id}/dependencies?direction=up", $ada)->code, 422, 'up is no direction';
    is $hive->get("$base/$d->{id}/dependencies?cursor=x", $ada)->code, 400, 'x no cursor';

    my $slot = add(limit => { key => 'k', max => 1 });
    ok $hive->wait_for(5, sub { row($slot, 'limit_slot') eq 't' }), 'one with a slot';
    my $waits = add(limit => { key => 'k', max => 1 });
    link_to($slot, $d);
    is row($slot, 'limit_slot'), 'f', 'gives it back when it waits';
    ok $hive->wait_for(5, sub { row($waits, 'limit_slot') eq 't' }), 'to the next';
};

subtest 'no cycle' => sub {
    my @t = map { add() } 1 .. 5;
    is code(link_to($t[0], $t[0])), 'dependency_cycle', 'not with itself';
    is link_to($t[1], $t[0])->code, 201, '1 after 0';
    is link_to($t[2], $t[1])->code, 201, '2 after 1';
    is code(link_to($t[0], $t[2])), 'dependency_cycle', 'not 0 after 2';
    is link_to($t[0], $t[3])->code, 201, '0 after 3, which moves the others up';
    is link_to($t[3], $t[4])->code, 201, '3 after 4, which moves them again';
    is code(link_to($t[4], $t[2])), 'dependency_cycle', 'not 4 after 2';
    is unlink_from($t[1], $t[0])->code, 204, 'without 1 after 0';
    is link_to($t[4], $t[2])->code, 201, 'it is none';
    is $hive->psql('select count(*) from cell0.task_dependencies d join cell0.all_tasks p on p.id = d.parent_id join cell0.all_tasks c on c.id = d.child_id
        where p.rank <> d.parent_rank or c.rank <> d.child_rank or p.rank >= c.rank'), 0, 'every edge leads up, and knows its ends';
    is $hive->psql('select count(*) from cell0.tasks t where state in (\'blocked\', \'paused\') and deps_left <> (select count(*) from cell0.task_dependencies d
        join cell0.tasks p on p.id = d.parent_id where d.child_id = t.id)'), 0, 'every counter is right';
};

subtest 'from all sides at once' => sub {
    my @t = map { add(paused => true) } 1 .. 8;
    my %codes;
    for my $round (1 .. 6) {
        my @promises = map {
            my ($child, $parent) = map { $t[rand @t] } 1, 2;
            my $remove = rand() < 0.3;
            my $url = $hive->url("$base/$child->{id}/dependencies" . ($remove ? "/$parent->{id}" : ''));
            my %auth = (Authorization => "Bearer $ada->{token}");
            ($remove ? $hive->ua->delete_p($url, \%auth) : $hive->ua->post_p($url, \%auth, json => { task_id => $parent->{id} }))
                ->then(sub { $codes{ $_[0]->res->code }++ })
        } 1 .. 20;
        Mojo::Promise->all(@promises)->wait;
    }
    ok !grep({ !/^(?:200|201|204|404|409)$/ } keys %codes), 'no failure: ' . join ', ', map { "$_ x $codes{$_}" } sort keys %codes;
    is $hive->psql(q{with recursive up (id, seen) as (
            select child_id, array[child_id] from cell0.task_dependencies
            union all select d.child_id, seen || d.child_id from up join cell0.task_dependencies d on d.parent_id = up.id
                where not d.child_id = any(seen[2:]) and cardinality(seen) < 10)
        select count(*) from up where cardinality(seen) > 1 and seen[1] = id}), 0, 'no cycle';
    is $hive->psql('select count(*) from cell0.task_dependencies d join cell0.tasks p on p.id = d.parent_id join cell0.tasks c on c.id = d.child_id
        where p.rank <> d.parent_rank or c.rank <> d.child_rank'), 0, 'ranks are right';
    is $hive->psql('select count(*) from cell0.tasks t where state in (\'blocked\', \'paused\') and deps_left <> (select count(*) from cell0.task_dependencies d
        join cell0.tasks p on p.id = d.parent_id where d.child_id = t.id)'), 0, 'counters are right';
    $hive->post("$base/$_->{id}/resume", $ada) for @t;
    my $left = 8;
    for (1 .. 8) {
        my @ready = grep { now($_)->{state} eq 'ready' } @t or last;
        finish($_) for @ready;
        $left -= @ready;
    }
    is $left, 0, 'and all can be done, one after the other';
};

subtest 'an edge while its parent ends' => sub {
    my %seen;
    for (1 .. 12) {
        my ($parent, $child) = (add(), add());
        my $lease = $hive->post("$base/claim", $ada, { kinds => [$parent->{kind}] })->json->{tasks}[0];
        my %auth = (Authorization => "Bearer $ada->{token}");
        Mojo::Promise->all(
            $hive->ua->post_p($hive->url("$base/$child->{id}/dependencies"), \%auth, json => { task_id => $parent->{id} }),
            $hive->ua->post_p($hive->url("$base/$parent->{id}/complete"), \%auth, json => { lease_token => $lease->{lease_token} }),
        )->then(sub { $seen{ join ',', map { $_->[0]->res->code } @_ }++ })->wait;
        is now($parent)->{state}, 'succeeded', 'the parent ended';
        is now($child)->{state}, 'ready', 'the child is free';
    }
    diag 'link, complete: ' . join '; ', map { "$_ x $seen{$_}" } sort keys %seen;
};

subtest 'an edge from a task that runs here' => sub {
    my $sleep = add(kind => 'sleep', input => { ms => 600 });
    ok $hive->wait_for(5, sub { now($sleep)->{state} eq 'running' }), 'it runs';
    my $child = add();
    is link_to($child, $sleep)->code, 201, 'one more waits for it';
    is now($child)->{state}, 'blocked', 'blocked';
    ok $hive->wait_for(5, sub { now($sleep)->{state} eq 'succeeded' }), 'it ends all the same';
    is now($child)->{state}, 'ready', 'and who waited is free';
};

subtest 'a wide join' => sub {
    my $res = $hive->post("$base/batch", $ada, { action => 'create', items => [map { { kind => 'test.wide' } } 1 .. 300] })->json;
    my $join = add(depends_on => [map { $_->{id} } @{ $res->{items} }]);
    is row($join, 'deps_left'), 300, 'of 300';
    my $page = $hive->get("$base/$join->{id}/dependencies?limit=100", $ada)->json;
    my @all = @{ $page->{items} };
    while (my $cursor = $page->{next_cursor}) {
        $page = $hive->get("$base/$join->{id}/dependencies?limit=100&cursor=$cursor", $ada)->json;
        push @all, @{ $page->{items} };
    }
    is scalar @all, 300, 'listed page by page';
    $res = $hive->post("$base/batch", $ada, { action => 'cancel', items => [map { $_->{id} } @{ $res->{items} }[0 .. 9]] })->json;
    is $res->{succeeded}, 10, 'some are cancelled';
    is now($join)->{state}, 'skipped', 'and the join is skipped';
};

$hive->stop;
done_testing;
