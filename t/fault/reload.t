# HUP of nginx, and of the workers, under load loses no request at all

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../lib";
use Test::More;
use Hive::Fault;

fault_test({
    name => 'HUP nginx', lossless => 1, inject => sub {
        my ($hive) = @_;
        $hive->reload_nginx;
    },
}, {
    name => 'HUP the workers', lasts => 3, lossless => 1, inject => sub {
        my ($hive) = @_;
        $hive->reload_workers;
    },
});
done_testing;
