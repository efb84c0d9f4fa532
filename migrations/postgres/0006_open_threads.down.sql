DROP INDEX threads_desk_open;
