import { BeforeApplicationShutdown, Injectable, Logger } from '@nestjs/common';
import { setTimeout as delay } from 'node:timers/promises';
import { hostname } from 'node:os';

@Injectable()
export class AppService implements BeforeApplicationShutdown {
  private readonly log = new Logger('App');
  private readonly name = process.env.POD_NAME ?? hostname();

  hello(): string {
    return `Hello from ${this.name}\n`;
  }

  // The pod leaves its Service's endpoints at the moment of the signal; the nodes hear of it a little later. Until
  // they all have, connections still arrive and must be answered: close the listening socket only after that.
  async beforeApplicationShutdown(signal?: string): Promise<void> {
    this.log.log(`${signal ?? 'shutdown'}: answering for another second, then closing`);
    await delay(Number(process.env.DRAIN_MS ?? 1000));
  }
}
