DROP TABLE directory_seeds, desk_agents, desks, agents, directory;
